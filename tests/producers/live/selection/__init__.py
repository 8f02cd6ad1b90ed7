"""What the exchange lists, and which of it is recorded."""
