"""Teach a pretrained model to call, from marked articles.

``tune`` fits the ``<CALL>`` row of a frozen model as a gate: a logistic regression on the hidden
states, which are computed once. The distribution over text tokens does not change. The result is a
model folder that every command of lacy and plain ``transformers`` can load.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
