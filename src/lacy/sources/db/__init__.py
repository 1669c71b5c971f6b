"""Databases as sources: SQLite, DuckDB and PostgreSQL; start with ``Database``.

``Database`` reads a table of facts, or any tables through a mapping file, of which
``draft_mapping`` writes a first version. ``lacy.sources.db.stores`` holds the three databases.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
