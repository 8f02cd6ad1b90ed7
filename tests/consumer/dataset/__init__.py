"""What is read, audited, measured and compacted, on real files."""
