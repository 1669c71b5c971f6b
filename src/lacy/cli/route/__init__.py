"""``lacy route``: routers, which say what should answer a text."""
