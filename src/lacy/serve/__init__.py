"""A server with OpenAI's API: one model and its sources.

``make_app`` returns the ASGI application, ``Server`` runs it and ends its streams cleanly. Needs
``pip install 'lacy[serve]'``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
