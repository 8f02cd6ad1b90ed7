"""History from archive and REST: complete, resumable, refused where it is not what it should be."""
