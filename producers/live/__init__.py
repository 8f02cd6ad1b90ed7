"""What a producer records now: which series, over which connections, from where, with which checkpoint."""
