"""Chimera mirrors DeFi lending markets exactly and flags the accounts that can be liquidated."""

__version__ = "0.1.0"
