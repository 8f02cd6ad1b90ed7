"""Checks before a run, with everything wrong that can be."""
