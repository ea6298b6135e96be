"""Aave v3 and its forks: pools with reserves, scaled balances, eModes and one price oracle."""
