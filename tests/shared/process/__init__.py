"""Backing off, stopping, and tasks that are owned."""
