"""Questions with answers, and with the knowledge that answers them: files, and what is right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy._text import normalized_words
from lacy.corpus import ReadReport, read_fixed_field
from lacy.disk import write_atomic
from lacy.errors import LacyError

LETTERS = "ABCDEFGHIJ"
"""Names of the options of a question, in their order."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A question, the knowledge that answers it, and the answer.

    Attributes:
        question: what is asked.
        answer: the right answer; of a question with options, one of them.
        knowledge: one or a few sentences from which the answer follows; empty if none is known.
        options: the answers to choose from; empty for an open question.
        aliases: other spellings of the answer that are right, too.
        subject: what the question is about.
        source: where it comes from: ``table``, ``text``, or the model that wrote it.
        id: names it in reports.
    """

    question: str
    answer: str
    knowledge: str = ""
    options: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    subject: str = ""
    source: str = ""
    id: str = ""

    @property
    def letter(self) -> str:
        """The letter of the right option, or ""."""
        return LETTERS[self.options.index(self.answer)] if self.options else ""

    def as_data(self) -> dict[str, Any]:
        """Return the fields that have a value, as plain data."""
        names = ("id", "question", "answer", "knowledge", "subject", "source")
        found: dict[str, Any] = {n: getattr(self, n) for n in names if getattr(self, n)}
        lists = ("options", "aliases")
        return found | {n: list(getattr(self, n)) for n in lists if getattr(self, n)}


def read_triples(
    path: str | Path, *, knowledge: bool = False, report: ReadReport | None = None
) -> list[Triple]:
    """Read questions from JSONL, JSON, CSV or Parquet.

    The fields are those of ``Triple``; ``question`` and ``answer`` are needed.

    Args:
        path: the file.
        knowledge: True if every question needs knowledge, too.
        report: filled with what was skipped.

    Raises:
        LacyError: E390, a question cannot be used; and the errors of ``lacy.corpus.read``.
    """
    found = []
    for document in read_fixed_field(path, "question", "E390", report):
        where, meta = f"{path}: {document.id}", document.meta
        answer = _text(meta.get("answer"))
        written = _text(meta.get("knowledge"))
        if not answer:
            raise LacyError("E390", where=where, why="it has no answer")
        options = tuple(map(_text, _list(meta.get("options"))))
        if options and answer not in options:
            raise LacyError(
                "E390", where=where, why=f"its answer {answer!r} is none of its options"
            )
        if len(options) > len(LETTERS) or len(set(options)) < len(options):
            why = f"its options must be different and at most {len(LETTERS)}"
            raise LacyError("E390", where=where, why=why)
        if knowledge and not written:
            raise LacyError("E390", where=where, why="it has no knowledge")
        aliases = tuple(map(_text, _list(meta.get("aliases"))))
        found.append(
            Triple(document.text.strip(), answer, written, options, aliases,
                   _text(meta.get("subject")), _text(meta.get("source")), document.id)
        )  # fmt: skip
    return found


def write_triples(path: str | Path, triples: Iterable[Triple]) -> int:
    """Write questions as JSON lines, atomically; return their number."""
    lines = [json.dumps(one.as_data(), ensure_ascii=False) + "\n" for one in triples]
    write_atomic(Path(path), "".join(lines))
    return len(lines)


def is_right(triple: Triple, reply: str) -> bool:
    """Return whether a reply to a question gives the right answer.

    Of a question with options, the reply must begin with the right letter, or contain the words of
    the right option and of no other. An open question is right if the first line of the reply
    contains all words of the answer (or of an alias) in their order, without case and accents.
    """
    [first, *_] = reply.strip().splitlines() or [""]
    if triple.options:
        return chosen_option(triple, first) == triple.letter
    words = normalized_words(first)
    return any(_contains(words, normalized_words(one)) for one in (triple.answer, *triple.aliases))


def chosen_option(triple: Triple, reply: str) -> str:
    """Return the letter of the option that a reply chooses, or "" if it is none or several."""
    letters = LETTERS[: len(triple.options)]
    text = reply.strip().lstrip("(*[\"' ")
    if text[:1] in letters and text[:1] and not text[1:2].isalnum():
        return text[:1]
    words = normalized_words(reply)
    named = [
        letter
        for letter, option in zip(letters, triple.options, strict=True)
        if _contains(words, normalized_words(option))
    ]
    return named[0] if len(named) == 1 else ""


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    size = len(part)
    return size > 0 and any(
        list(words[start : start + size]) == list(part) for start in range(len(words) - size + 1)
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _list(value: object) -> list[Any]:
    """Return a list of a cell: of CSV, a text with ``|`` between the items."""
    if isinstance(value, str):
        value = value.split("|") if value.strip() else []
    return list(value) if isinstance(value, list | tuple) else []
