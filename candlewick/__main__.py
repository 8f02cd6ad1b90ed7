"""``python -m candlewick`` is the ``candlewick`` command."""

from candlewick.cli import main

main()
