"""Several hosts that share one market, each with a network of its own that can be cut."""
