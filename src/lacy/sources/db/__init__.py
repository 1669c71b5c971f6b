"""Databases as sources: SQLite, DuckDB and PostgreSQL, as tables of facts or through a mapping."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
