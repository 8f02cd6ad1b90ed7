"""What a process tells of itself to whoever watches it: figures for Prometheus, and whether it lives and works."""
