"""``lacy vocabulary``: find, show and check the tokens that a task needs."""
