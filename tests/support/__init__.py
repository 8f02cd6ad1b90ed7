"""Helpers of the tests; imported from nowhere else."""
