"""Each fault happens as it was asked for, and no other."""
