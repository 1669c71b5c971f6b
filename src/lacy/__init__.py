"""Small language models that say what they can and call for the rest.

The plan of the house, from the roof down; a room imports only from rooms below it:

    cli/          the command line, one file per verb
    testing.py    byte tokenizer, scripted model and source, for tests and demonstrations
    serve/        one model and its source behind OpenAI's API, many texts at once
    study/        arms x seeds x sizes as one plan, with tidy results and figures
    evaluate/     facts right and wrong, leakage, call quality, curves, intervals, the report
    cascade/      who speaks next: engine, policies, traces
    train/        the training loop, its schedule and checkpoints; the Trainer adapter
    sources/      who answers calls: a database, a language model, a script
    model/        presets, the <CALL> row, saving and loading, batched decoding
    objective/    which tokens to delegate, and the loss that teaches it
    annotate/     which words carry facts: characters, then tokens
    corpus/       read texts, train tokenizers, pack rows; the made-up world
    run.py        run folders: settings, versions, metrics, a card
    config.py     settings: one dataclass is object, YAML file and flags
    disk.py       atomic writes, locks, errors of a full or failing disk
    types.py      the values that pass between rooms
    wire.py       requests to OpenAI-compatible servers, and parsing of their answers
    errors/       every error a user can meet: what happened, what to type next

The way of a text: ``read`` it, mark its facts (``annotate``), ``encode`` both into tokens, pack
them (``PackedData``), ``train`` a model that calls where facts are due, and let an ``Engine``
speak with a source that answers; ``evaluate`` holds the answers against the truth. The lower half
(``annotate`` and below) imports no torch. ``import lacy`` imports nothing heavy: the names below
are looked up when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs milliseconds
if TYPE_CHECKING:
    from typing import Any

    from .annotate import SpacyAnnotator as SpacyAnnotator
    from .annotate import encode as encode
    from .cascade import Engine as Engine
    from .corpus import PackedData as PackedData
    from .corpus import load_tokenizer as load_tokenizer
    from .corpus import read as read
    from .corpus import train_tokenizer as train_tokenizer
    from .corpus.world import make_world as make_world
    from .errors import LacyError as LacyError
    from .model import load as load_model
    from .sources import Database as Database
    from .sources import LanguageModel as LanguageModel
    from .types import Answer as Answer
    from .types import Document as Document
    from .types import Mark as Mark
    from .types import Span as Span

__version__ = "0.1.0"

_HOME = {
    "Answer": "lacy.types",
    "Database": "lacy.sources",
    "Document": "lacy.types",
    "Engine": "lacy.cascade",
    "LacyError": "lacy.errors",
    "LanguageModel": "lacy.sources",
    "Mark": "lacy.types",
    "PackedData": "lacy.corpus",
    "SpacyAnnotator": "lacy.annotate",
    "Span": "lacy.types",
    "encode": "lacy.annotate",
    "load_model": "lacy.model",
    "load_tokenizer": "lacy.corpus",
    "make_world": "lacy.corpus.world",
    "read": "lacy.corpus",
    "train_tokenizer": "lacy.corpus",
}
_CALLED_THERE = {"load_model": "load"}

__all__ = [
    "Answer",
    "Database",
    "Document",
    "Engine",
    "LacyError",
    "LanguageModel",
    "Mark",
    "PackedData",
    "SpacyAnnotator",
    "Span",
    "encode",
    "load_model",
    "load_tokenizer",
    "make_world",
    "read",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    """Looks a public name up in its room when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'lacy' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), _CALLED_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
