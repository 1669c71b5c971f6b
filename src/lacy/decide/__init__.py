"""Typed decisions: which option of a question fits a text, with calibrated probabilities.

A question has a type (yes or no, a choice, a score) and options. Every option is scored apart, so
the order of options changes nothing. Scores are a model's likelihoods (no training), or a linear
head on hidden states of a model or on vectors of a text encoder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
