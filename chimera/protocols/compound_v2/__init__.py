"""Compound v2 and its forks: Moonwell on Base above all, Compound itself and Venus' core pool."""
