"""Its WebSockets and REST, over real sockets."""
