"""The commands as a user runs them, and whole pipelines with their beginnings and ends."""
