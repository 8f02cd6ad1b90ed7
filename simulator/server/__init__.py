"""The simulated exchange's sockets: its three markets over WebSocket and REST, and its controls."""
