"""A source from one word, as it is typed after ``--source``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.sources.protocol import Source

DATABASES = (".sqlite", ".sqlite3", ".db", ".duckdb", ".ddb")
MAPPINGS = (".yaml", ".yml")


def open_source(name: str | None) -> Source | None:
    """Opens whoever answers calls.

    Args:
        name: a ``.sqlite``, ``.db`` or ``.duckdb`` file, ``postgresql://user@host/name``, or the
            ``.yaml`` of a mapping; a folder that ``lacy world`` wrote (its truth) or
            ``lacy source build`` (its texts); the folder or Hub name (``owner/name``) of a causal
            language model, or ``http://host:port/v1#name`` of one behind a server; None for nobody.

    Raises:
        LacyError: E12 for something that is none of these, and what the source itself raises.
    """
    if name is None:
        return None
    if name.lower().startswith(("http://", "https://")):
        return _behind_a_server(name)
    if name.lower().startswith(("postgresql:", "postgres:")):
        from lacy.sources import Database

        return Database(name)
    path = Path(name)
    if path.suffix in MAPPINGS:
        from lacy.sources import Database

        return Database.mapped(path)
    if (path / "documents.sqlite").is_file():
        from lacy.sources.documents import Documents

        return Documents(path)
    if (path / "truth.sqlite").is_file():
        path = path / "truth.sqlite"
    if path.suffix in DATABASES:
        from lacy.sources import Database

        return Database(path)
    if (path / "config.json").is_file() or (not path.exists() and name.count("/") == 1):
        from lacy.sources import LanguageModel

        return LanguageModel(str(path))
    what = "is no folder of a model, a world or an index" if path.is_dir() else "is no source"
    do = (
        "give a .sqlite or .duckdb file, postgresql://USER@HOST/NAME, a mapping.yaml, a folder of "
        "`lacy world` or `lacy source build`, a model's folder or Hub name, or http://HOST:PORT/v1#MODEL"
    )
    raise LacyError("E12", key="source", value=name, why=what, do=do)


def _behind_a_server(address: str) -> Source:
    """A model behind a server, left alone for a while when it fails again and again."""
    from lacy.sources.endpoint import Endpoint
    from lacy.sources.resilience import Breaker
    from lacy.sources.web import checked_url

    url, _, model = address.partition("#")
    url = checked_url(url)
    if not model:
        raise LacyError("E72", url=url, why=f"it names no model; write {url}#MODEL")
    return Breaker(Endpoint(url, model))
