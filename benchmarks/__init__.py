"""Measurements side by side: what Chimera does, next to what others do, in the same run."""
