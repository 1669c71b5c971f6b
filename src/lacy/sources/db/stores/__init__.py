"""Read-only access to SQLite, DuckDB and PostgreSQL; start with ``open_store``.

Every query binds its values and has a time limit. There is one module per database, with the
differences of its SQL dialect; ``lacy.sources.db`` decides which queries are made.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
