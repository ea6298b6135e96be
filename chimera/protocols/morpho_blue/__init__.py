"""Morpho Blue: isolated markets of one loan and one collateral token, kept by one singleton."""
