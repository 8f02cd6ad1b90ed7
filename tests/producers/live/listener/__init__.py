"""Series over connections, against the simulated exchange over real WebSockets."""
