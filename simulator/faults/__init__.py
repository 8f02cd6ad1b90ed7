"""Which faults the simulated exchange can have, and when each of them happens."""
