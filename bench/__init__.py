"""Benchmarks: ours, the old way and the floor, side by side in one run."""
