"""How the daemon can be watched: log lines and metrics."""
