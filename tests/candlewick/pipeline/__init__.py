"""The whole pipeline as a user runs it: simulated exchange, producers, broker, writer, Parquet."""
