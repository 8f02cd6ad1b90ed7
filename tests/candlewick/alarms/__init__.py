"""Alarms: what is told, when, and to whom."""
