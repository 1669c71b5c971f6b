"""A server that offers one model and its sources through OpenAI's API.

``make_app`` returns the ASGI application; ``Server`` runs it and shuts it down cleanly. Needs
``pip install 'lacy[serve]'``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
