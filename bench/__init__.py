"""Benchmarks: ours, the old way and the bare floor, side by side in one run. ``make bench`` prints the table.

Machines are shared and noisy, so what counts are the ratios: each contestant takes turns in several rounds, and the
best round of each is compared.
"""
