"""The markets' streams: the consumer group, its dead letters, and what a stream retains."""
