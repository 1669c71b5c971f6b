"""Sources, which answer the calls of an engine; start with ``open_source`` or ``Database``.

A source turns requests (the text so far) into replies with no, one or several candidates, which the
small model ranks by likelihood. Anything with ``name`` and ``ask`` is a source (``Source``). A
source knows nothing about calls, budgets or policies.

``db`` holds databases, ``texts`` documents, ``models`` language models here or behind a server, and
``names`` finds the subject of a text. This package has the protocol and sources around sources:
``Cached``, ``Breaker``, ``Chain`` and ``Metered``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
