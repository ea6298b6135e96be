"""Recordings of what came in from the chain, and the player that feeds them in again."""
