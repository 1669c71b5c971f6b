"""Open a database by its path or address, and detect addresses."""

from __future__ import annotations

import re
from pathlib import Path

from lacy.errors import LacyError
from lacy.sources.db.stores.base import Store

_POSTGRES = ("postgresql:", "postgres:")
"""Addresses with too few slashes match as well; as paths, messages would show their password."""
_DUCKDB_SUFFIXES = (".duckdb", ".ddb")
_DUCKDB_MAGIC = b"DUCK"
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]+):/", re.IGNORECASE)
_SECRET = re.compile(r"(?<=:/)(/?)[^@\s]*@|(?<=password=)[^&\s]+", re.IGNORECASE)


def hide_credentials(text: object) -> str:
    """Return a text with users and passwords removed from the addresses in it."""
    return _SECRET.sub(lambda found: f"{found[1]}***@" if "@" in found[0] else "***", str(text))


def is_url(database: str | Path) -> bool:
    """True if ``database`` is an address, even if ``Path`` has removed one of its slashes."""
    return bool(_SCHEME.match(str(database))) and not Path(database).exists()


def is_postgres_url(database: str | Path) -> bool:
    """True if ``database`` is the address of a PostgreSQL database."""
    return isinstance(database, str) and database.lower().startswith(_POSTGRES)


def open_store(database: str | Path) -> Store:
    """Open a database with read-only access.

    Args:
        database: a SQLite or DuckDB file (distinguished by their first bytes), or
            ``postgresql://user@host/name``.

    Raises:
        LacyError: E65, no such file; E66, the file is not a readable database; E94, the server
            cannot be reached or the address has another scheme; E11, a package is not installed.
    """
    if is_postgres_url(database):
        from lacy.sources.db.stores.postgres import Postgres

        return Postgres(str(database))
    if is_url(database):
        scheme = str(database).partition(":")[0]
        why = "addresses begin with postgresql://; a SQLite or DuckDB file is named by its path"
        raise LacyError("E94", place=f"{scheme}://…", why=why)
    path = Path(database)
    if not path.is_file():
        raise LacyError("E65", path=hide_credentials(path))
    if _is_duckdb(path):
        from lacy.sources.db.stores.duck import DuckDb

        return DuckDb(path)
    from lacy.sources.db.stores.sqlite import Sqlite

    return Sqlite(path)


def _is_duckdb(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise LacyError("E66", path=path, why=error.strerror or str(error)) from error
    suffix = path.suffix.lower() in _DUCKDB_SUFFIXES
    return head[8:] == _DUCKDB_MAGIC or (suffix and not head.startswith(b"SQLit"))
