"""Candles and series metadata as files: their layout and bytes, and the storage that keeps them."""
