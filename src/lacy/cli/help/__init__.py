"""``lacy help``: settings files, error codes and the environment."""
