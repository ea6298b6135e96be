"""Compound v3 (Comet): one market with one borrowable base asset behind each proxy."""
