"""Where the knowledge for a question comes from: a small model, retrieval, both, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lacy.blade.writer import KnowledgeWriter
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import Source, fact_sentence, guarded
from lacy.types import Candidate, Request

KnowledgeKind = Literal["none", "retrieval", "model", "both"]

PASSAGES = 2
"""Default for the number of passages that retrieval gives."""

PASSAGE_CHARACTERS = 600
"""Characters of a passage that are kept."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A piece of knowledge, and where it comes from.

    Attributes:
        text: what the black box reads.
        origin: name of the small model, or the place in the documents.
        kind: who gave it.
    """

    text: str
    origin: str
    kind: Literal["model", "retrieval"]


class KnowledgeProvider(Protocol):
    """Gives knowledge for questions."""

    kind: KnowledgeKind

    def provide(self, questions: Sequence[str]) -> list[tuple[Knowledge, ...]]:
        """Return the pieces for each question, in their order; none where nothing is known."""
        ...


class NoKnowledge:
    """Gives nothing: the black box alone."""

    kind: KnowledgeKind = "none"

    def provide(self, questions: Sequence[str]) -> list[tuple[Knowledge, ...]]:
        """Return nothing for each question."""
        return [() for _ in questions]


class WrittenKnowledge:
    """Gives what the small model writes.

    Args:
        writer: the small model.
    """

    kind: KnowledgeKind = "model"

    def __init__(self, writer: KnowledgeWriter) -> None:
        self.writer = writer

    def provide(self, questions: Sequence[str]) -> list[tuple[Knowledge, ...]]:
        """Return one piece for each question, or none if the model wrote nothing.

        Raises:
            LacyError: E60, a question does not fit into the model's context.
        """
        name = self.writer.loaded.name or "small model"
        written = self.writer.write(questions)
        return [(Knowledge(text, name, "model"),) if text else () for text in written]


class RetrievedKnowledge:
    """Gives passages of documents, or facts of a database.

    Args:
        source: documents (``lacy source build``) or another source.
        passages: number of passages.
        timeout: seconds for all questions of a call together.
    """

    kind: KnowledgeKind = "retrieval"

    def __init__(
        self, source: Source, *, passages: int = PASSAGES, timeout: float | None = 60.0
    ) -> None:
        self.source, self._passages, self._timeout = source, passages, timeout

    def provide(self, questions: Sequence[str]) -> list[tuple[Knowledge, ...]]:
        """Return the best passages for each question; none where nothing was found."""
        requests = [Request(text=one, question=one) for one in questions]
        with LoopThread(name="lacy-retrieval") as loop:  # a caller may have a loop of its own
            asked = loop.submit(guarded(self.source, requests, timeout=self._timeout))
            replies = asked.result()
        return [self._pieces(reply.candidates) for reply in replies]

    def _pieces(self, candidates: Sequence[Candidate]) -> tuple[Knowledge, ...]:
        """Return the passages of the candidates, each once, in the order of the search."""
        found: dict[str, Knowledge] = {}
        for one in candidates:
            text = one.context or fact_sentence(one.subject, one.kind, one.text)
            text = " ".join(text.split())[:PASSAGE_CHARACTERS]
            if text and text not in found:
                origin = one.evidence.partition(":")[0] or self.source.name
                found[text] = Knowledge(text, origin, "retrieval")
            if len(found) == self._passages:
                break
        return tuple(found.values())


class BothKnowledge:
    """Gives the passages, and then what the small model writes.

    Args:
        retrieved: passages.
        written: the small model's text.
    """

    kind: KnowledgeKind = "both"

    def __init__(self, retrieved: KnowledgeProvider, written: KnowledgeProvider) -> None:
        self._parts = (retrieved, written)

    def provide(self, questions: Sequence[str]) -> list[tuple[Knowledge, ...]]:
        """Return the pieces of both for each question."""
        first, second = (part.provide(questions) for part in self._parts)
        return [a + b for a, b in zip(first, second, strict=True)]


def make_provider(
    kind: KnowledgeKind, writer: KnowledgeWriter | None, source: Source | None
) -> KnowledgeProvider:
    """Return a provider by its name.

    Args:
        kind: what gives the knowledge.
        writer: the small model, for ``model`` and ``both``.
        source: documents, for ``retrieval`` and ``both``.

    Raises:
        LacyError: E397, what ``kind`` needs is missing.
    """
    if kind == "none":
        return NoKnowledge()
    if kind != "retrieval" and writer is None:
        raise LacyError("E397", why="there is no small model")
    if kind != "model" and source is None:
        raise LacyError("E397", why="there are no documents")
    written = WrittenKnowledge(writer) if writer is not None else NoKnowledge()
    if kind == "model" or source is None:
        return written
    retrieved = RetrievedKnowledge(source)
    return retrieved if kind == "retrieval" else BothKnowledge(retrieved, written)
