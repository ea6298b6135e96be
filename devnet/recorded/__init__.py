"""What recordings call the truth, family by family."""
