"""The dashboard: a page, read-only, that shows how the recording does, and its candles as they close."""
