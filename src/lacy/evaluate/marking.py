"""Marks on the fact tokens of texts that have none, for measurements on and off facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lacy.types import Document


def marked_documents(
    documents: Sequence[Document],
    pipeline: str = "auto",
    notify: Callable[[str], object] = lambda sentence: None,
) -> list[Document]:
    """Return texts with marks on their fact tokens; texts that have marks keep them.

    Args:
        documents: the texts; ``meta["title"]`` is the subject of each.
        pipeline: the spaCy pipeline, as in ``annotate.SpacyAnnotator``.
        notify: receives a sentence that names the pipeline.

    Raises:
        ModuleNotFoundError: spaCy is not installed.
    """
    if any(document.marks for document in documents):
        return list(documents)
    from lacy.annotate import SpacyAnnotator

    annotator = SpacyAnnotator(pipeline, notify=lambda sentence: None)  # said here
    notify(f"Fact tokens: {annotator.choice}.")
    titles = [str(document.meta.get("title") or "") or None for document in documents]
    marks = annotator.annotate([document.text for document in documents], titles)
    return [replace(d, marks=tuple(m)) for d, m in zip(documents, marks, strict=True)]
