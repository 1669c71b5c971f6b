"""The texts of a compression: some are read by the steps, others are held out for measuring."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.compress.settings import CompressPlan
from lacy.errors import LacyError
from lacy.types import Document

HELD_OUT = 5
"""One in this many texts is held out if no other texts are given for measuring."""

LEAST = 10
"""Minimum number of texts for the steps."""

LEAST_HELD_OUT = 2
"""Minimum number of texts to measure on."""

LONGEST_TOKEN = 6
"""Mean number of characters per token that no tokenizer of English exceeds, roughly."""

MOST = 20_000
"""Maximum number of texts that are read."""


@dataclass(frozen=True)
class Texts:
    """Marked texts of both kinds."""

    fit: list[Document]
    """Texts from which steps learn: the inputs of layers, tokens of the domain, training."""
    held_out: list[Document]
    """Texts on which stages are measured, cut to ``plan.measure.tokens``."""

    def for_training(self, tokens: int, *, marks: bool) -> list[Document]:
        """Return texts with enough tokens for a training.

        Args:
            tokens: number of tokens of the training.
            marks: mark the fact tokens of all these texts.
        """
        wanted, chosen = tokens * LONGEST_TOKEN, list[Document]()
        for document in self.fit:
            chosen.append(document)
            wanted -= len(document.text)
            if wanted <= 0:
                break
        return _all_marked(chosen) if marks else chosen

    def digest(self) -> str:
        """Return a hash of all texts."""
        digest = hashlib.sha256()
        for document in (*self.fit, *self.held_out):
            digest.update(document.text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()[:16]


def read_texts(
    data: str | Path,
    held_out: str | Path | None,
    tokenizer: Any,
    plan: CompressPlan,
    *,
    only: str | None = None,
    notify: Callable[[str], object] = lambda sentence: None,
) -> Texts:
    """Read and mark the texts.

    Args:
        data: texts of the domain, as in ``lacy.corpus.read``.
        held_out: other texts for measuring; None to hold out a fifth of ``data``.
        tokenizer: of the original model; it decides where a held-out text is cut.
        plan: how many texts are read.
        only: use only texts for which this field is true.
        notify: receives sentences about automatic choices.

    Raises:
        LacyError: the errors of ``texts_of_plan``.
    """
    from lacy.cascade import truncate_document
    from lacy.evaluate import marked_documents

    fit, measured = texts_of_plan(data, held_out, plan, only=only, notify=notify)
    marked = marked_documents(measured, notify=notify)
    cut = [truncate_document(d, tokenizer, plan.measure.tokens + 2) for d in marked]
    return Texts(_marked_fit(fit, plan), cut)


def texts_of_plan(
    data: str | Path,
    held_out: str | Path | None,
    plan: CompressPlan,
    *,
    only: str | None = None,
    notify: Callable[[str], object] = lambda sentence: None,
) -> tuple[list[Document], list[Document]]:
    """Read the texts for the steps and those to measure on, without marks.

    Raises:
        LacyError: E322, there are too few texts; E12, all held-out texts are also read by steps;
            and the errors of ``read``.
    """
    from lacy.corpus import read

    documents = [d for d in itertools.islice(read(data, only=only), MOST) if d.text.strip()]
    if held_out is None:
        measured = documents[::HELD_OUT]
        fit = [d for number, d in enumerate(documents) if number % HELD_OUT]
    else:
        fit = documents
        measured = [d for d in itertools.islice(read(held_out, only=only), MOST) if d.text.strip()]
    if len(fit) < LEAST or len(measured) < LEAST_HELD_OUT:
        counts = {"texts": len(fit), "held_out": len(measured)}
        raise LacyError("E322", path=data, **counts, least=LEAST, least_held_out=LEAST_HELD_OUT)
    measured = measured[: plan.measure.texts]
    if held_out is None:
        notify(f"Held out for measuring: {len(measured)} of {len(documents)} texts of {data}.")
    seen = {document.text for document in fit}
    measured = [document for document in measured if document.text not in seen]
    if not measured:
        why = "all held-out texts are also among the texts that steps read"
        raise LacyError("E12", key="held_out", value=held_out, why=why, do="give other texts")
    return fit, measured


def _marked_fit(documents: Sequence[Document], plan: CompressPlan) -> list[Document]:
    """Mark the texts that fit the ``<CALL>`` row; the others are read without marks."""
    from lacy.evaluate import marked_documents

    first = max(plan.articles, plan.rows)
    return [*marked_documents(documents[:first]), *documents[first:]]


def _all_marked(documents: Sequence[Document]) -> list[Document]:
    """Mark the texts that have no marks yet."""
    from lacy.evaluate import marked_documents

    bare = [document for document in documents if not document.marks]
    marked = iter(marked_documents(bare) if bare else ())
    return [document if document.marks else next(marked) for document in documents]
