"""Sealed months: what was recorded of a closed month, never changed again, and provable without a recording."""
