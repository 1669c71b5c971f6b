"""``lacy safety``: classifiers of harmful prompts and answers."""
