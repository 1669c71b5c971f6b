"""Language models as sources: in this process, behind an HTTP API, or through the llm package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
