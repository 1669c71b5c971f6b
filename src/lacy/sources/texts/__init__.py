"""Use texts as a source through an index of their values; start with ``Documents``.

``Documents.build`` indexes texts, ``Documents(folder)`` opens an index. The index is one SQLite
file (``schema``); a tantivy index and vectors are optional and derived from it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
