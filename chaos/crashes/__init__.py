"""The writer killed, or refused, at every system call of a flush."""
