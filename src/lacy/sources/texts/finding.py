"""The values of texts that carry no marks, found by an annotator, before they are indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lacy.annotate import RULES_VERSION, validated_marks
from lacy.errors import LacyError
from lacy.sources.texts.passages import subject_of
from lacy.types import Document, Mark

if TYPE_CHECKING:
    from lacy.annotate import Annotator

Skip = Callable[[str, str], None]
"""Told the id of a document that is left out, and why."""


def finder(pipeline: str = "bundled") -> Annotator:
    """What finds values where texts carry no marks: rules on a spaCy pipeline, loaded here.

    Raises:
        LacyError: E11, spaCy is not installed; E30, no such pipeline.
    """
    from lacy.annotate import Rules, SpacyAnnotator

    # A name counts in every passage, also where it was read before.
    rules = Rules(unmark_seen=False, content=False)
    return SpacyAnnotator(pipeline, rules, announce=lambda sentence: None)


class Finder:
    """Finds the values of texts that carry no marks; the annotator is loaded when first needed."""

    def __init__(self, extract: Annotator | None) -> None:
        self.name = f"{getattr(extract, 'name', '') if extract else 'bundled'} {RULES_VERSION}"
        self._extract = extract

    def marks(self, documents: Sequence[Document]) -> list[list[Mark]]:
        """Marks of each document."""
        if self._extract is None:
            self._extract = finder()
        texts = [document.text for document in documents]
        more: list[Any] = []
        if getattr(self._extract, "uses_subjects", False):
            more = [[subject_of(document) or None for document in documents]]
        return validated_marks(texts, self._extract.annotate(texts, *more), self.name)


def annotate(documents: Sequence[Document], finder: Finder, skip: Skip) -> Mapping[str, list[Mark]]:
    """Marks by id; a text that the annotator fails at is left out."""
    try:
        return dict(zip((d.id for d in documents), finder.marks(documents), strict=True))
    except LacyError as error:
        if error.code not in ("E31", "E50"):  # not installed: none of the others would fare better
            raise
        problem: Exception = error
    except Exception as error:  # an annotator may raise anything
        problem = error
    if len(documents) == 1:
        lines = str(problem).splitlines() or [""]
        skip(documents[0].id, f"{type(problem).__name__}: {lines[0]}")
        return {}
    return {k: v for d in documents for k, v in annotate([d], finder, skip).items()}
