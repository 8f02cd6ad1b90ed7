"""The writer process: from the streams to disk, through crashes of itself, the broker and the disk."""
