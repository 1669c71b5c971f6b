"""Sources from words, as they are typed after ``--source``, with their prices and kept answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError, one_line

if TYPE_CHECKING:
    from lacy.sources.protocol import Source
    from lacy.sources.texts import Documents

DATABASES = (".sqlite", ".sqlite3", ".db", ".duckdb", ".ddb")
MAPPINGS = (".yaml", ".yml")


CHAIN_SECONDS = 25.0
"""For all sources of a chain together; below the 30 that an engine waits by default."""


def open_sources(
    sources: Sequence[str | Path | Source],
    *,
    cache: str | Path | None = None,
    prices: Sequence[str] = (),
    seconds: float = CHAIN_SECONDS,
) -> Source | None:
    """Opens those who answer calls, each counted (``Metered``); several are a ``Chain``.

    Args:
        sources: sources, or names as in ``open_source``, in the order in which they are asked.
        cache: file in which answers of language models are kept; what looks up needs none.
        prices: of models behind servers and of the ``llm`` package, each ``INPUT,OUTPUT`` or
            ``NAME=INPUT,OUTPUT`` in US dollars per million tokens.
        seconds: that a chain may take; each of its sources has an equal share.

    Raises:
        LacyError: E106 for a price that cannot be used, and what ``open_source`` raises.
    """
    from lacy.sources.protocol import wrapped_sources
    from lacy.sources.resilience import Chain, Metered

    found = [open_source(str(s)) if isinstance(s, str | Path) else s for s in sources]
    opened = [source for source in found if source is not None]
    _set_prices([s for source in opened for s in wrapped_sources(source)], prices)
    if cache is not None:
        opened = [_kept(source, cache) for source in opened]
    counted = [Metered(source, timeout=None) for source in opened]
    if len(counted) < 2:
        return counted[0] if counted else None
    return Chain(counted, timeout=seconds / len(counted))


def _kept(source: Source, cache: str | Path) -> Source:
    """A source whose answers are kept; one that looks up is quick, and may change: as it is."""
    from lacy.sources.cached import Cached
    from lacy.sources.db import Database
    from lacy.sources.protocol import wrapped_sources
    from lacy.sources.texts import Documents

    if any(isinstance(wrapped, Database | Documents) for wrapped in wrapped_sources(source)):
        return source
    return Cached(source, cache, timeout=None)


def _set_prices(sources: Sequence[Any], prices: Sequence[str]) -> None:
    """Set the prices given as ``INPUT,OUTPUT`` (all sources) or ``NAME=INPUT,OUTPUT``."""
    from lacy.sources.protocol import TokenPrice

    priced = [source for source in sources if hasattr(source, "price")]
    for written in prices:
        name, named, price = written.rpartition("=")
        chosen = [source for source in priced if not named or source.name == name]
        try:
            parts = [float(part) for part in price.split(",")]
            if len(parts) != 2 or not all(0 <= part < float("inf") for part in parts):
                raise ValueError
        except ValueError:
            why = "it is not two numbers of at least 0 with a comma between them"
            raise LacyError("E106", price=written, why=why) from None
        if not chosen:
            names = ", ".join(source.name for source in priced)
            why = f"of those asked, {names or 'nobody'} can have one"
            raise LacyError("E106", price=written, why=why)
        for source in chosen:
            source.price = TokenPrice(*parts)


def open_source(name: str | None) -> Source | None:
    """Opens whoever answers calls.

    Args:
        name: a ``.sqlite``, ``.db`` or ``.duckdb`` file, ``postgresql://user@host/name``, or the
            ``.yaml`` of a mapping; a folder that ``lacy data world`` wrote (its truth) or
            ``lacy source build`` (its texts); the folder or Hub name (``owner/name``) of a causal
            language model, ``http://host:port/v1#name`` of one behind a server, or ``llm:NAME`` of
            one of the ``llm`` package; None for nobody.

    Raises:
        LacyError: E12 for something that is none of these, and what the source itself raises.
    """
    if name is None:
        return None
    if name.lower().startswith(("http://", "https://")):
        return _behind_a_server(name)
    if name.startswith("llm:"):
        from lacy.sources.models import LlmModel
        from lacy.sources.resilience import Breaker

        return Breaker(LlmModel(name.removeprefix("llm:")))
    from lacy.sources.db.stores import is_address, is_url, without_secret

    if is_url(name) or is_address(name):  # whatever it is, its password stands in no message
        from lacy.sources.db import Database

        return Database(name)
    path = Path(name)
    if path.suffix in MAPPINGS:
        from lacy.sources.db import Database

        return Database.mapped(path)
    if (path / "documents.sqlite").is_file():
        from lacy.sources.texts import Documents

        texts = Documents(path)
        _tell_missing(texts)
        return texts
    if (path / "truth.sqlite").is_file():
        path = path / "truth.sqlite"
    if path.suffix in DATABASES:
        from lacy.sources.db import Database

        return Database(path)
    parts = ("config.json", "model/config.json", "adapter_config.json")  # the last is refused there
    holds_model = path.suffix == ".gguf" or any((path / part).is_file() for part in parts)
    if holds_model or (not path.exists() and name.count("/") == 1):
        from lacy.sources.models import LanguageModel

        return LanguageModel(str(path))
    what = "is no folder of a model, a world or an index" if path.is_dir() else "is no source"
    do = (
        "give a .sqlite or .duckdb file, postgresql://USER@HOST/NAME, a mapping.yaml, a folder of "
        "`lacy data world` or `lacy source build`, a model's folder or Hub name, "
        "http://HOST:PORT/v1#MODEL, or llm:MODEL"
    )
    raise LacyError("E12", key="source", value=without_secret(name), why=what, do=do)


def _tell_missing(texts: Documents) -> None:
    """Logs that files of an index no longer exist; the index still answers from them."""
    files = texts.missing()
    if not files:
        return
    some = f"{one_line(files[0])}, ..." if len(files) > 1 else one_line(files[0])
    what = f"{len(files):,} files that are" if len(files) > 1 else "a file that is"
    logging.getLogger(__name__).warning(
        "%s: it answers from %s no longer there (%s); to remove what went, build it again.",
        one_line(str(texts.path)), what, some,
    )  # fmt: skip


def _behind_a_server(address: str) -> Source:
    """A model behind a server, left alone for a while when it fails again and again."""
    from lacy.remote import checked_url
    from lacy.sources.models import Endpoint
    from lacy.sources.resilience import Breaker

    url, _, model = address.partition("#")
    url = checked_url(url)
    if not model:
        raise LacyError("E72", url=url, why=f"it names no model; write {url}#MODEL")
    return Breaker(Endpoint(url, model))
