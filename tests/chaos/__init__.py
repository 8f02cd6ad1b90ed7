"""Tests of the tools that break Candlewick from outside, and short runs of them."""
