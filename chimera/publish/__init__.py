"""What leaves the daemon for other programs."""
