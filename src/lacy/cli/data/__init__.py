"""``lacy data``: texts with known facts, marks and packed data, and checks of both."""
