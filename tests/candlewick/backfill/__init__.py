"""The archive, what is planned and compared, and whole backfills."""
