"""From the exchange into the stream."""
