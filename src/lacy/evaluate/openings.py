"""Test facts after an opening: does a model complete "Marie Curie died in" with the true value?

An opening is the beginning of a sentence after which a known value is due. It counts as right if
the sentence that the model completes contains a value that may follow. Other statements in the
sentence are not checked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy.almanac import Opening
from lacy.evaluate.entities import ArticleText
from lacy.evaluate.stored import stored_answers
from lacy.results import NO_DATA, AnswerStore, Result, Score, UnitCounts, ratio_scores, results_of
from lacy.types import Answer

if TYPE_CHECKING:
    from lacy.cascade import Policy
    from lacy.sources import Source

CALIBRATION_ARTICLES = 60
"""Number of short articles that ship with lacy, for calibrating the ranking of values."""

_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")


@dataclass(frozen=True, slots=True)
class OpeningAnswers:
    """How a model completes openings under one condition."""

    policy: str
    scores: Mapping[str, Score]
    """Scores by metric; openings of one subject count as one unit for the intervals."""
    right: tuple[bool, ...] = field(metadata=NO_DATA)
    """For each opening, True if it is completed with a value that may follow."""
    answers: tuple[Answer, ...] = field(metadata=NO_DATA)
    units: UnitCounts | None = field(default=None, metadata=NO_DATA)
    """The counts of each subject."""


@dataclass(frozen=True, slots=True)
class OpeningsResult:
    """How a model completes openings under all conditions."""

    conditions: Mapping[str, OpeningAnswers]
    openings: int
    """Number of openings."""
    seed: int = 0

    def results(self) -> list[Result]:
        """Return the metrics of each condition."""
        found = []
        for name, answers in self.conditions.items():
            conditions = {"condition": name, "policy": answers.policy}
            found += results_of(answers.scores, seed=self.seed, conditions=conditions)
        return found

    def units(self) -> list[UnitCounts]:
        """Return the counts of each subject, and its texts."""
        return [
            replace(answers.units, conditions={"condition": name, "policy": answers.policy})
            for name, answers in self.conditions.items()
            if answers.units is not None
        ]


def evaluate_openings(
    loaded: Any,
    openings: Sequence[Opening],
    source: Source | None,
    policies: Mapping[str, Policy | str],
    *,
    max_new_tokens: int = 16,
    seed: int = 0,
    store: AnswerStore | None = None,
    **engine_options: Any,
) -> OpeningsResult:
    """Let a model complete openings under several policies, and count the right values.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        openings: the openings.
        source: what answers calls.
        policies: a policy per condition name.
        max_new_tokens: maximum length of a completion.
        seed: seed of the bootstrap.
        store: keeps the answers, so that a stopped measurement goes on.
        engine_options: further arguments of ``cascade.Engine``.
    """
    from lacy.cascade import Engine

    texts = [opening.text for opening in openings]
    names = [opening.subject.name for opening in openings]
    conditions = {}
    for name, policy in policies.items():
        engine = Engine(loaded, source, policy, max_new_tokens=max_new_tokens, **engine_options)
        answers = stored_answers(engine, texts, names, store)
        right = [is_completed(o, a) for o, a in zip(openings, answers, strict=True)]
        units = _units(names, answers, right)
        conditions[name] = OpeningAnswers(
            str(engine.policy), ratio_scores(units.counts, seed=seed), tuple(right),
            tuple(answers), units,
        )  # fmt: skip
    return OpeningsResult(conditions, len(openings), seed)


def evaluate_shipped_facts(
    loaded: Any,
    policies: Mapping[str, Policy | str],
    *,
    subjects: int,
    seed: int = 0,
    store: AnswerStore | None = None,
) -> OpeningsResult:
    """Evaluate openings about people, countries and elements whose facts ship with lacy.

    A database of these facts answers calls. The ranking of values is calibrated on short articles
    about other subjects.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        policies: a policy per condition name.
        subjects: number of subjects.
        seed: seed of the choice of subjects and of the bootstrap.
        store: keeps the answers, so that a stopped measurement goes on.
    """
    from lacy import almanac
    from lacy.cascade import calibrate
    from lacy.sources.db import Database

    others, asked = almanac.split_subjects(almanac.load_subjects(), subjects, seed)
    chosen = random.Random(seed).sample(others, min(CALIBRATION_ARTICLES, len(others)))
    calibration = calibrate(loaded, almanac.write_articles(chosen, seed))
    with TemporaryDirectory() as folder:
        path = almanac.write_facts(Path(folder) / "facts.sqlite", [*others, *asked])
        with Database(path, name="facts") as source:
            return evaluate_openings(
                loaded, almanac.openings(asked), source, policies, seed=seed, store=store,
                calibration=calibration,
            )  # fmt: skip


def is_completed(opening: Opening, answer: Answer) -> bool:
    """True if the first sentence of the completion contains a value that may follow."""
    completion = answer.text[len(opening.text) :]
    end = _SENTENCE_END.search(completion)
    sentence = ArticleText(completion[: end.start()] if end else completion)
    return any(sentence.contains(value) for value in opening.right)


def _units(names: Sequence[str], answers: Sequence[Answer], right: Sequence[bool]) -> UnitCounts:
    """Return counts and texts per subject."""
    subjects, index = np.unique(np.asarray(names, dtype=object), return_inverse=True)

    def total(values: Sequence[float]) -> NDArray[np.float64]:
        return np.bincount(index, np.asarray(values, float)).astype(np.float64)

    texts: list[list[str]] = [[] for _ in subjects]
    for place, answer in zip(index, answers, strict=True):
        texts[place].append(answer.text)
    counts = {
        "openings": total([1.0] * len(names)),
        "completed": total([float(r) for r in right]),
        "calls": total([a.calls for a in answers]),
        "called": total([a.called_tokens for a in answers]),
        "tokens": total([a.tokens for a in answers]),
    }
    return UnitCounts({}, tuple(subjects), counts, tuple("\n".join(lines) for lines in texts))
