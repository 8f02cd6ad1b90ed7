"""A local Binance: three markets over real WebSockets and REST, with synthetic or recorded klines."""
