"""Whether everything that recording needs is there and fit for it, before a first run and when in doubt."""
