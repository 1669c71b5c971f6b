"""Annotation: which characters of a text carry facts, and why.

An ``Annotator`` takes texts and gives character spans with a reason. ``SpacyAnnotator`` is the
paper's way (a spaCy pipeline and ``Rules``); ``read_labels`` reads the stored labels of an LLM
judge; ``lacy.annotate.live.LiveJudge`` asks one. ``annotate_documents`` marks a whole corpus,
in processes and resumable; ``encode`` turns character marks into flags beside tokens;
``check_marks`` shows what came of it. Annotation is slow, done once and stored: training never
loads spaCy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .align import encode as encode
    from .check import check_marks as check_marks
    from .config import Rules as Rules
    from .judge import read_labels as read_labels
    from .protocol import Annotator as Annotator
    from .shards import annotate_documents as annotate_documents
    from .spacy_rules import SpacyAnnotator as SpacyAnnotator

_LAZY = {
    "Annotator": "protocol",
    "Rules": "config",
    "SpacyAnnotator": "spacy_rules",
    "annotate_documents": "shards",
    "check_marks": "check",
    "encode": "align",
    "read_labels": "judge",
}
__all__ = [
    "Annotator",
    "Rules",
    "SpacyAnnotator",
    "annotate_documents",
    "check_marks",
    "encode",
    "read_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
