"""Every candle the exchange has is held in the end, every hole is told, and little is asked. No network, no waiting."""
