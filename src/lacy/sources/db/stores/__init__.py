"""Databases behind one small interface: read-only, bound parameters, a limit on the time.

``open_store`` picks SQLite, DuckDB or PostgreSQL; each is one file with its own SQL dialect's few
differences. What is asked of them stands in ``lacy.sources.db.facts``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
