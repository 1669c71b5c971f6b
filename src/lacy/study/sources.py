"""The sources of a study, such as ``database:errors=0.1``, ``truth:knows=0.5``, ``@partner``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.sources import Source
    from lacy.sources.texts import Documents
    from lacy.world import World

OPTIONS = {"": (), "database": ("errors",), "truth": ("knows", "errors"), "documents": ()}
"""Kinds of sources and their options; the empty text means no source."""


def parse_source(text: str) -> tuple[str, dict[str, float]]:
    """Split the text of a source, such as ``truth:knows=0.5``, into its kind and options.

    Raises:
        ValueError: there is no such source or option.
    """
    kind, _, rest = text.partition(":")
    if kind not in OPTIONS:
        raise ValueError(f"source {text!r} is none of database, truth, documents, @METHOD")
    options = {}
    for part in filter(None, rest.split(",")):
        name, _, value = part.partition("=")
        if name not in OPTIONS[kind]:
            raise ValueError(f"source {text!r}: {kind} has no option {name!r}")
        options[name] = float(value)
        if not 0.0 <= options[name] <= 1.0:
            raise ValueError(f"source {text!r}: {name} is a share between 0 and 1")
    return kind, options


@contextmanager
def open_study_source(
    text: str, world: World, folder: Path, seed: int, tokenizer: Any = None, partner: Any = None
) -> Iterator[Source | None]:
    """Open a source, or yield None if the text is empty.

    Args:
        text: the source as a recipe names it.
        world: the world whose facts the source knows.
        folder: receives databases with errors and indices of texts.
        seed: seed for the choice of wrong and missing facts.
        tokenizer: the SLM's tokenizer, for a ``truth`` that answers token by token.
        partner: the loaded model of the method that ``@METHOD`` names.
    """
    from lacy.sources import Truth
    from lacy.sources.db import Database
    from lacy.sources.models import LanguageModel

    if text.startswith("@"):
        yield LanguageModel(partner.model, partner.tokenizer, name=text[1:])
        return
    kind, options = parse_source(text)
    if not kind:
        yield None
    elif kind == "truth":
        knows, errors = options.get("knows", 1.0), options.get("errors", 0.0)
        yield Truth(world, knows=knows, errors=errors, seed=seed, tokenizer=tokenizer)
    elif kind == "documents":
        with world_documents(world, folder / "documents") as source:
            yield source
    else:
        errors = options.get("errors", 0.0)
        file = folder / "truth.sqlite" if not errors else folder / f"errors-{errors:g}.sqlite"
        if not file.exists():
            world.to_sqlite(file, errors=errors, seed=seed)
        with Database(file, name="database") as source:
            yield source


def world_documents(world: World, folder: Path) -> Documents:
    """Open an index of a world's training texts, one per person; build it if it is missing.

    The folder is written atomically, so two processes may build it at the same time.
    """
    from lacy.run import replace_folder
    from lacy.sources.texts import Documents

    if not folder.exists():
        try:
            with replace_folder(folder) as fresh:
                Documents.build(world.documents("train"), fresh).close()
        except OSError:
            if not folder.exists():  # otherwise another process has built it meanwhile
                raise
    return Documents(folder)
