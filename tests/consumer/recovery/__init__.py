"""Replays, refills and poison, on a real server and real files."""
