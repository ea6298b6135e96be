"""Values and arithmetic that every room shares; standard library only."""
