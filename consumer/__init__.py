"""From the broker to Parquet, and from Parquet to whoever reads."""
