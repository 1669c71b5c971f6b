"""Decisions with known answers: read them from JSONL, and split them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.corpus import ReadReport, read_fixed_field, source_name
from lacy.decide.questions import (
    NO,
    TYPES,
    YES,
    DecisionQuestion,
    question_from_data,
    state_text,
)
from lacy.errors import LacyError

UNKNOWN = "unknown"
"""Answer of a ``noul`` that the state does not decide; it teaches even odds."""

ANSWERS = {
    "true": YES, "yes": YES, "1": YES, "false": NO, "no": NO, "0": NO, UNKNOWN: UNKNOWN,
}  # fmt: skip
"""Answers of a ``noul`` that are understood, in any letter case."""


@dataclass(frozen=True, slots=True)
class KnownDecision:
    """A question about a state, and its right answer.

    Attributes:
        state: what the question is about.
        question: the question.
        answer: name of the right option; ``unknown`` if a ``noul`` is undecided.
        source: name of the data that it comes from; figures are reported by source.
    """

    state: str
    question: DecisionQuestion
    answer: str
    source: str = ""

    @property
    def target(self) -> tuple[float, ...]:
        """The probability of each option that training aims at."""
        if self.answer == UNKNOWN and self.question.type == "noul":
            return (0.5, 0.5)
        return tuple(float(one.name == self.answer) for one in self.question.options)


def read_decisions(
    paths: Iterable[str | Path], *, report: ReadReport | None = None
) -> list[KnownDecision]:
    """Read decisions with known answers, one JSON object per line.

    ``{"state": ..., "question": ..., "type": ..., "options": ..., "answer": ..., "source": ...}``:
    ``options`` are what the API calls criteria (a list of labels is enough for a choice), and the
    source is the file's name unless it is given.

    Args:
        paths: files or folders.
        report: filled with what was skipped.

    Raises:
        LacyError: E381, a line cannot be used; and the errors of ``lacy.corpus.read``.
    """
    found = []
    for path in paths:
        for document in read_fixed_field(path, "state", "E381", report):
            name = source_name(path, document)
            found.append(_decision(document.text, document.meta, f"{path}: {document.id}", name))
    return found


def known_decision(data: Mapping[str, Any], where: str = "decision") -> KnownDecision:
    """Return one object of a file as ``read_decisions`` reads it.

    Raises:
        LacyError: E381, it cannot be used.
    """
    return _decision(state_text(data.get("state") or ""), data, where, "")


def _decision(state: str, data: Mapping[str, Any], where: str, source: str) -> KnownDecision:
    kind, options = data.get("type"), data.get("options")
    if kind == "choice" and isinstance(options, list):
        names = [str(one) for one in options]
        if len(set(names)) < len(names):
            raise LacyError("E381", where=where, why="it has an option twice")
        options = dict.fromkeys(names)
    try:
        question = question_from_data(
            {"type": kind, "instructions": data.get("question"), "criteria": options}, where
        )
    except LacyError as error:
        raise LacyError("E381", where=where, why=str(error.values["why"])) from error
    answer = str(data.get("answer")).strip()
    if kind == "noul":
        answer = ANSWERS.get(answer.lower(), answer)
    names = [one.name for one in question.options]
    if kind == "score" and answer not in names:
        levels = {one.description: one.name for one in question.options}
        answer = levels.get(answer, answer)
    if answer not in names and not (kind == "noul" and answer == UNKNOWN):
        why = f"its answer {answer[:80]!r} is none of its options"
        raise LacyError("E381", where=where, why=why)
    return KnownDecision(state, question, answer, str(data.get("source") or source))


def hold_out_decisions(
    decisions: Sequence[KnownDecision], share: float, seed: int = 0
) -> tuple[list[KnownDecision], list[KnownDecision]]:
    """Split decisions into those to fit on and those to calibrate on; equal states stay together.

    The side of a decision depends on the seed and its state only.
    """

    def held(one: KnownDecision) -> bool:
        data = f"{seed}\0{' '.join(one.state.lower().split())}".encode(errors="replace")
        number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        return number < share * 2**64

    sides = [held(one) for one in decisions]
    pairs = list(zip(decisions, sides, strict=True))
    return [one for one, side in pairs if not side], [one for one, side in pairs if side]


def count_by_type(decisions: Iterable[KnownDecision]) -> dict[str, int]:
    """Return the number of decisions of each type."""
    kinds = [one.question.type for one in decisions]
    return {kind: kinds.count(kind) for kind in TYPES}
