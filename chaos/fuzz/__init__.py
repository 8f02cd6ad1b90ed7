"""Hostile inputs by the million for every parser."""
