"""Frames, connections, REST and its weight, over real sockets."""
