"""Tests, a folder a room and a file a module; then whole pipelines and faults."""
