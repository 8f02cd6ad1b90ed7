"""From the streams to Parquet, and what is read there."""
