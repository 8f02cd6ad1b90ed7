"""What stands in the broker: its keys, entries and heartbeats, and the clients and pages that read them."""
