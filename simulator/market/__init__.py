"""What the simulated exchange lists, and the klines it has: made up, or recorded."""
