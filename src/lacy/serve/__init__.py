"""The server: one model and its source behind the API that OpenAI clients speak.

``make_app`` gives the ASGI application, ``Server`` runs it and ends its streams cleanly. Needs
``pip install 'lacy[serve]'``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
