"""Telling people: what is not well, and that it is well again."""
