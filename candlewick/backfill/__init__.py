"""History from REST and the archive, filled into the store."""
