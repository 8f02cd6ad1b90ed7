"""From the exchange to the broker: one process a market."""
