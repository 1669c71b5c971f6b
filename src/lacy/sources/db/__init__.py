"""Use SQLite, DuckDB and PostgreSQL databases as sources; start with ``Database``.

``Database`` reads a table of facts, or any tables through a mapping file; ``draft_mapping`` writes
a first version of this file. ``lacy.sources.db.stores`` contains the three kinds of databases.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
