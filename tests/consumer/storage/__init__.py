"""Partitions, metadata and quarantine on a real file system, and every kind of storage by one kit."""
