"""Benchmarks, side by side in one run: ours, what people use (the old way) and the best plain loop (the floor).

``make bench`` prints the table. Machines are shared and noisy, so what counts are the ratios: each contestant takes
turns in several rounds, and the best round of each is compared.
"""
