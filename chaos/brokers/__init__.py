"""Brokers on loopback: a single one, one that Sentinels watch, a cluster."""
