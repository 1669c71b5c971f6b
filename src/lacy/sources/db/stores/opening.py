"""Databases behind one small interface: read-only, bound parameters, a limit on the time.

``open_store`` picks SQLite, DuckDB or PostgreSQL; each is one file with its own SQL dialect's few
differences. What is asked of them stands in ``lacy.sources.db.facts``.
"""

from __future__ import annotations

import re
from pathlib import Path

from lacy.errors import LacyError
from lacy.sources.db.stores.base import Store

POSTGRES = ("postgresql:", "postgres:")
"""Also with too few slashes: an address is never taken for a path, which messages would show."""
DUCK = (".duckdb", ".ddb")
_DUCK_MARK = b"DUCK"
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]+):/", re.IGNORECASE)
_SECRET = re.compile(r"(?<=:/)(/?)[^@\s]*@|(?<=password=)[^&\s]+", re.IGNORECASE)


def without_secret(text: object) -> str:
    """A text in which addresses show neither user nor password."""
    return _SECRET.sub(lambda found: f"{found[1]}***@" if "@" in found[0] else "***", str(text))


def is_address(database: str | Path) -> bool:
    """Whether this is an address of any kind; ``Path`` leaves one slash of two."""
    return bool(_SCHEME.match(str(database))) and not Path(database).exists()


def is_url(database: str | Path) -> bool:
    """Whether this is the address of a PostgreSQL database rather than a file."""
    return isinstance(database, str) and database.lower().startswith(POSTGRES)


def open_store(database: str | Path) -> Store:
    """Opens a database for reading.

    Args:
        database: a SQLite or DuckDB file (told apart by their first bytes), or
            ``postgresql://user@host/name``.

    Raises:
        LacyError: E65 no such file, E66 not a database that can be read, E94 a server that cannot
            be reached or another kind of address, E11 a package is not installed.
    """
    if is_url(database):
        from lacy.sources.db.stores.postgres import Postgres

        return Postgres(str(database))
    if is_address(database):
        scheme = str(database).partition(":")[0]
        why = "addresses begin with postgresql://; a SQLite or DuckDB file is named by its path"
        raise LacyError("E94", place=f"{scheme}://…", why=why)
    path = Path(database)
    if not path.is_file():
        raise LacyError("E65", path=without_secret(path))
    if _is_duck(path):
        from lacy.sources.db.stores.duck import Duck

        return Duck(path)
    from lacy.sources.db.stores.sqlite import Sqlite

    return Sqlite(path)


def _is_duck(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise LacyError("E66", path=path, why=error.strerror or str(error)) from error
    return head[8:] == _DUCK_MARK or (path.suffix.lower() in DUCK and not head.startswith(b"SQLit"))
