"""The lending protocols: pure adapters that describe reads, decode logs and do the arithmetic."""
