"""Nothing is let go before the broker has it, and what it loses is published again."""
