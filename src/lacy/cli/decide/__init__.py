"""``lacy decide``: typed decisions with probabilities."""
