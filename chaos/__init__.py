"""Proof from outside: processes killed and stopped, connections cut, system calls failed, bytes mutated.

Nothing here is part of the product. Each tool breaks what runs the way the world breaks it, from a seed, and compares
what is on disk afterwards with what is true.
"""
