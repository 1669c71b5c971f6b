"""The cascade: who speaks next, the small model or a source, and what came of it.

``Engine`` decodes; a policy says when to call; every piece of an answer is a span with provenance.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
