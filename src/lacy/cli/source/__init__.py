"""``lacy source``: make sources from texts and databases, and ask them."""
