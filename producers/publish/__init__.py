"""From memory into the stream: nothing is let go before the broker has it, and is looked for after."""
