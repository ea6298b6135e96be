"""Price sources and turning prices: explained, never decided upon."""
