"""The simulated exchange, held to what Binance does."""
