"""Open sources by the names accepted by ``--source``, with prices and a cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError, one_line
from lacy.model import SHORT_NAMES
from lacy.sources.cached import Cached
from lacy.sources.db import Database
from lacy.sources.db.stores import hide_credentials, is_postgres_url, is_url
from lacy.sources.protocol import Source, TokenPrice, wrapped_sources
from lacy.sources.texts import Documents
from lacy.sources.wrappers import Breaker, Chain, Metered

_DATABASES = (".sqlite", ".sqlite3", ".db", ".duckdb", ".ddb")
_MAPPINGS = (".yaml", ".yml")
_MODEL_FILES = ("config.json", "model/config.json", "adapter_config.json")

CHAIN_SECONDS = 25.0
"""Seconds for all sources of a chain together; less than the 30 s that an engine waits."""


def open_sources(
    sources: Sequence[str | Path | Source],
    *,
    cache: str | Path | None = None,
    prices: Sequence[str] = (),
    seconds: float = CHAIN_SECONDS,
) -> Source | None:
    """Open the sources of a command line with usage meters; several sources become a ``Chain``.

    Args:
        sources: sources, or names as in ``open_source``, in the order in which they are asked.
        cache: file that caches the answers of language models; databases and texts are not cached.
        prices: prices of models behind servers or of the ``llm`` package, as ``INPUT,OUTPUT`` or
            ``NAME=INPUT,OUTPUT`` in US dollars per million tokens.
        seconds: time limit of a chain; every source gets an equal share of it.

    Raises:
        LacyError: E106, a price is invalid; and the errors of ``open_source``.
    """
    opened = [open_source(str(s)) if isinstance(s, str | Path) else s for s in sources]
    _set_prices([s for source in opened for s in wrapped_sources(source)], prices)
    if cache is not None:
        opened = [_with_cache(source, cache) for source in opened]
    metered = [Metered(source, timeout=None) for source in opened]
    if len(metered) < 2:
        return metered[0] if metered else None
    return Chain(metered, timeout=seconds / len(metered))


def _with_cache(source: Source, cache: str | Path) -> Source:
    """Cache a source's answers, except for databases and texts: they are fast and may change."""
    if any(isinstance(wrapped, Database | Documents) for wrapped in wrapped_sources(source)):
        return source
    return Cached(source, cache, timeout=None)


def _set_prices(sources: Sequence[Any], prices: Sequence[str]) -> None:
    """Set the prices, given as ``INPUT,OUTPUT`` (for all sources) or ``NAME=INPUT,OUTPUT``."""
    priced = [source for source in sources if hasattr(source, "price")]
    for text in prices:
        name, named, price = text.rpartition("=")
        chosen = [source for source in priced if not named or source.name == name]
        try:
            parts = [float(part) for part in price.split(",")]
            if len(parts) != 2 or not all(0 <= part < float("inf") for part in parts):
                raise ValueError
        except ValueError:
            why = "it is not two numbers of at least 0 with a comma between them"
            raise LacyError("E106", price=text, why=why) from None
        if not chosen:
            names = ", ".join(source.name for source in priced)
            why = f"sources that can have a price: {names or 'none'}"
            raise LacyError("E106", price=text, why=why)
        for source in chosen:
            source.price = TokenPrice(*parts)


def open_source(name: str) -> Source:
    """Open a source by its name.

    Args:
        name: a ``.sqlite``, ``.db`` or ``.duckdb`` file, ``postgresql://user@host/name``, or the
            ``.yaml`` file of a mapping; a folder written by ``lacy data world`` (its facts) or
            ``lacy source build`` (its texts); a causal language model (its folder, GGUF file, short
            name as ``smollm2``, or Hub name ``owner/name``), ``http://host:port/v1#name`` for a
            model behind a server, or ``llm:NAME`` for a model of the ``llm`` package.

    Raises:
        LacyError: E12, ``name`` is none of these; and the errors of the source itself.
    """
    if name.lower().startswith(("http://", "https://")):
        return _open_endpoint(name)
    if name.startswith("llm:"):
        from lacy.sources.models import LlmModel

        return Breaker(LlmModel(name.removeprefix("llm:")))
    if is_postgres_url(name) or is_url(name):  # not a path: messages show paths, and URLs have keys
        return Database(name)
    path = Path(name)
    if path.suffix in _MAPPINGS:
        return Database.mapped(path)
    if (path / "documents.sqlite").is_file():
        texts = Documents(path)
        _warn_missing(texts)
        return texts
    if (path / "truth.sqlite").is_file():
        path = path / "truth.sqlite"
    if path.suffix in _DATABASES:
        return Database(path)
    is_model = path.suffix == ".gguf" or any((path / part).is_file() for part in _MODEL_FILES)
    if is_model or (not path.exists() and (name.count("/") == 1 or name.lower() in SHORT_NAMES)):
        from lacy.sources.models import LanguageModel

        return LanguageModel(str(path))
    what = "the folder is not a model, world or index" if path.is_dir() else "it is not a source"
    do = (
        "give a .sqlite or .duckdb file, postgresql://USER@HOST/NAME, a mapping.yaml, a folder of "
        "`lacy data world` or `lacy source build`, a model's folder, .gguf file or name, "
        "http://HOST:PORT/v1#MODEL, or llm:MODEL"
    )
    raise LacyError("E12", key="source", value=hide_credentials(name), why=what, do=do)


def _warn_missing(texts: Documents) -> None:
    """Log a warning if files of an index no longer exist; the index still contains their texts."""
    files = texts.missing()
    if files:
        logging.getLogger(__name__).warning(
            "%s: %s of its files no longer exist (%s), but it still answers from their texts. "
            "Build it again to remove them.",
            one_line(str(texts.path)), f"{len(files):,}",
            f"{one_line(files[0])}, ..." if len(files) > 1 else one_line(files[0]),
        )  # fmt: skip


def _open_endpoint(address: str) -> Source:
    """Open a model behind a server and wrap it in a circuit breaker."""
    from lacy.remote import check_url
    from lacy.sources.models import Endpoint

    url, _, model = address.partition("#")
    url = check_url(url)
    if not model:
        raise LacyError("E72", url=url, why=f"it names no model; write {url}#MODEL")
    return Breaker(Endpoint(url, model))
