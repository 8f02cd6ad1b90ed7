"""Settings from every source, and what is refused with which words."""
