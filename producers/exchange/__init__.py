"""Binance's WebSocket and REST: connections, frames, answers, and the request weight they cost."""
