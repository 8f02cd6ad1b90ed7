"""A local Binance: three markets over real WebSockets and REST, with synthetic or recorded klines."""

ADDRESS_LINE = "simulated exchange at "
"""What the first line of output of its process begins with; the exchange's address follows."""
