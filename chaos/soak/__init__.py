"""Soak: the whole pipeline at the real pace for hours or days, with the faults of an ordinary week, watched closely."""
