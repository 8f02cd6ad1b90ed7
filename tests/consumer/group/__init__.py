"""The consumer group on a real server: reading, dead letters, retention."""
