"""``python -m candlewick`` is the ``candlewick`` command."""

from candlewick.cli.main import main

main()
