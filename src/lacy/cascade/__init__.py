"""The cascade: a small model generates a text and calls sources for facts.

``Engine`` decodes, a policy decides when to call, and every part of an answer is a span with its
provenance.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
