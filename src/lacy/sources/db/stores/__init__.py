"""Read-only access to SQLite, DuckDB and PostgreSQL; start with ``open_store``.

Every query binds its values and has a time limit. Each database is one file with the differences of
its SQL dialect; which queries are made is up to ``lacy.sources.db``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
