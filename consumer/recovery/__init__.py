"""What a writer does beyond its loop: isolate poison, refill quarantined files, replay the streams."""
