"""HTTP to model servers: requests with retries and deadlines, server-sent events, event loops.

Imports nothing that is specific to annotation, sources or the cascade, so that all of them can use
it. Keys are read from the environment when a request is sent, and removed from error messages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
