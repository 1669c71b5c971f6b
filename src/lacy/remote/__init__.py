"""A client for OpenAI-compatible APIs, and an event loop in a thread.

Requests have retries, deadlines and size limits; answers are read as JSON or server-sent events.
API keys are read from the environment when a request is sent, and redacted in error messages. The
live judge, sources and hosted models use this package, so it must not import them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
