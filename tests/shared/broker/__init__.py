"""Entries, keys, heartbeats and pages, against a real server where they need one."""
