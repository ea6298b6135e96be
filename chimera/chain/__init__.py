"""The one door by which the chain's state comes in."""
