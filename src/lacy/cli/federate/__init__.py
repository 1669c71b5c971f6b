"""``lacy federate``: train on data that stay on several devices."""
