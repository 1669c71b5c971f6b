"""Talking to model servers: a client of OpenAI-compatible APIs, and an event loop in a thread.

Requests have retries, deadlines and size limits; answers are read as JSON or server-sent events.
Keys are read from the environment when a request is sent, and removed from error messages. The live
judge, sources and hosted models use it, so it imports none of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
