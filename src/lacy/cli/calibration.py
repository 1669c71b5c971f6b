"""Reading a model along true texts before it calls, with a sentence on what was done and why."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.cli.terminal import note

if TYPE_CHECKING:
    from lacy.cascade import Calibration

TEXTS = 100
"""Texts that a model is read along where nothing else is asked for."""

WHY = "so that candidates of different kinds compare and budgets hold from the first word"


def in_world(loaded: Any, folder: str | Path | None, texts: int = TEXTS) -> Calibration | None:
    """Calibrates a model on training texts of a made-up world.

    Args:
        loaded: the model.
        folder: of ``lacy data world``; anything else gives None.
        texts: how many; 0 for none.
    """
    if folder is None or texts <= 0 or not (Path(folder) / "world.json").is_file():
        return None
    from lacy.cascade import calibrate
    from lacy.world import load_world

    documents = list(itertools.islice(load_world(folder).documents("train"), texts))
    made = calibrate(loaded, documents)
    say(made, f"{len(documents)} training texts of {folder}")
    return made


def from_source(
    loaded: Any, sources: str | Sequence[str] | None, texts: int = TEXTS
) -> Calibration | None:
    """Calibrates a model on what its source holds: a world's texts, or those of an index.

    Args:
        loaded: the model.
        sources: as in ``--source``, one or several; the first that holds texts is taken.
        texts: how many; 0 for none.
    """
    names = [sources] if isinstance(sources, str) else sources or []
    source = next((name for name in names if _holds_texts(name)), None)
    if source is None or texts <= 0 or not (Path(source) / "documents.sqlite").is_file():
        return in_world(loaded, source, texts)
    from lacy.cascade import calibrate, truncate_document
    from lacy.model import context_of
    from lacy.sources.texts import Documents

    length = context_of(loaded.model)
    with Documents(source) as index:
        documents = [truncate_document(d, loaded.tokenizer, length) for d in index.documents(texts)]
    made = calibrate(loaded, documents)
    say(made, f"{len(documents)} texts of {source}")
    return made


def _holds_texts(name: str) -> bool:
    folder = Path(name)
    return (folder / "documents.sqlite").is_file() or (folder / "world.json").is_file()


def say(made: Calibration, where: str) -> None:
    """Names the automatic choice beside the output, with its reason and what it found."""
    kinds = ", ".join(f"{kind} {fit.n}" for kind, fit in sorted(made.kinds.items()))
    found = f"; values read: {kinds}" if kinds else "; too few values of any kind"
    note(f"Calibration: on {where}, {WHY}{found} (--calibrate 0 turns it off).")
