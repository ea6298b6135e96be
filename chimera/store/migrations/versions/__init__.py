"""One revision a file, named by its order."""
