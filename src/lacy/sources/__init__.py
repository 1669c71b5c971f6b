"""Sources: whoever answers a call. A database, texts, a language model, anything with ``ask``.

A source turns requests (the text so far) into replies: no candidate, one, or several that the small
model ranks by its own likelihood. Nothing here knows about calls, budgets or policies.

Beside what the door offers: ``documents.Documents`` (texts), ``endpoint.Endpoint`` (a model behind
a server), ``truth.Truth`` (a made-up world's), and sources around sources: ``cached.Cached``,
``resilience.Breaker``, ``Chain`` and ``Metered``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
