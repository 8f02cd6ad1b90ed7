"""What both sides agree on, tested by itself."""
