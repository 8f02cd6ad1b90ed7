"""Partitions replaced, one at a time, whatever fails."""
