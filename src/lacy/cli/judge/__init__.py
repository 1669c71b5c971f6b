"""``lacy judge``: judge facts, and hold judges against people."""
