"""Sources answer the calls of an engine; start with ``open_source`` or ``Database``.

A source turns a request (the text so far) into a reply with any number of candidates, which the
SLM ranks by likelihood. Any object with ``name`` and ``ask`` is a source (``Source``). A source
knows nothing about calls, budgets or policies.

``db`` contains databases, ``texts`` documents, ``models`` language models in this process or behind
a server, and ``names`` finds the subject of a text. This package contains the protocol and wrappers
of other sources: ``Cached``, ``Breaker``, ``Chain`` and ``Metered``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
