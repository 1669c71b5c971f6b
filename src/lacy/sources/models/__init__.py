"""Use language models as sources: in this process, behind an API, or of the llm package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
