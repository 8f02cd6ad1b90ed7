"""Commands as processes, as the pipeline's own tests start them."""

from tests.candlewick.conftest import start

__all__ = ["start"]
