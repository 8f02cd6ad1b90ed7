"""The whole pipeline while everything breaks at random, compared with the simulated exchange at the end."""
