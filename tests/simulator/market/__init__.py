"""Its listings and klines: the same for the same seed, and as the exchange forms them."""
