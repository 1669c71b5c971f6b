"""Evaluate answers to questions, by a model alone or with a database or documents as source.

An answer is right if it contains an accepted answer as whole words, after normalization (case,
punctuation and articles do not count), as for PopQA. Questions are asked one by one as chats, with
the model's own template; a model without one reads "Question: ... Answer:".
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy._text import without_accents
from lacy.evaluate.stored import stored_texts, unique_names
from lacy.results import NO_DATA, AnswerStore, Result, Score, UnitCounts, ratio_scores, results_of
from lacy.types import Answer

if TYPE_CHECKING:
    from lacy.cascade import Engine, Policy, TextSequence
    from lacy.sources import Source

QUESTION_COUNTS = (
    "questions", "contained", "exact", "sourced", "sourced_contained", "unanswered",
)  # fmt: skip
"""The counts of each question; the metrics of answers to questions are ratios of their sums."""

MAX_ANSWER_TOKENS = 48
"""Default maximum number of tokens of an answer."""

QUARTILES = 4


@dataclass(frozen=True, slots=True)
class TestQuestion:
    """A question with its accepted answers."""

    text: str
    answers: tuple[str, ...]
    subject: str = ""
    """Who or what it is about. The source does not get it and has to find it."""
    relation: str = ""
    """The kind of fact it asks for."""
    popularity: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    """Facts about the subject as pairs (relation, value)."""
    paragraphs: tuple[tuple[str, str], ...] = ()
    """Texts as pairs (title, text)."""


@dataclass(frozen=True, slots=True)
class QuestionAnswers:
    """The answers under one condition, and their scores."""

    condition: str
    policy: str
    scores: Mapping[str, Score]
    by_group: Mapping[str, Score]
    """Share of right answers by relation and by quartile of popularity."""
    cpu_seconds: float
    """CPU seconds per question."""
    counts: Mapping[str, NDArray[np.float64]] = field(metadata=NO_DATA)
    """Counts of each question by name (``QUESTION_COUNTS``)."""
    answers: tuple[Answer, ...] = field(metadata=NO_DATA)
    questions: tuple[str, ...] = field(default=(), metadata=NO_DATA)
    """The text of each question, made unique."""


@dataclass(frozen=True, slots=True)
class QuestionsResult:
    """The answers of all conditions."""

    conditions: Mapping[str, QuestionAnswers]
    repeated: int = 0
    """Number of questions that were asked before."""

    def results(self) -> list[Result]:
        """Return the scores of all conditions as results."""
        found: list[Result] = []
        for name, answers in self.conditions.items():
            conditions = {"condition": name, "policy": answers.policy}
            found += results_of(answers.scores, conditions=conditions)
            for group, score in answers.by_group.items():
                more = conditions | {"group": group}
                found += results_of({"answers_right": score}, conditions=more)
            number, all_of = float(self.repeated), len(answers.answers)
            found.append(
                Result("questions_repeated", number, number, number, all_of, "questions",
                       conditions=conditions)
            )  # fmt: skip
        return found

    def units(self) -> list[UnitCounts]:
        """Return the counts of each question, and its answer."""
        return [
            UnitCounts(
                {"condition": name, "policy": answers.policy}, answers.questions, answers.counts,
                tuple(answer.continuation for answer in answers.answers),
            )
            for name, answers in self.conditions.items()
        ]  # fmt: skip


def edited(questions: Sequence[TestQuestion]) -> list[TestQuestion]:
    """Return questions whose asked fact is replaced by that of another question.

    The new value comes from the next question of the same relation with another value, so that it
    is a plausible one; only it counts as right. Questions without such a fact are left out.
    """
    found = []
    for n, question in enumerate(questions):
        own = [value for name, value in question.facts if name == question.relation]
        old = {normal_form(text) for text in (*own, *question.answers)}
        others = (
            value
            for other in (*questions[n + 1 :], *questions[:n])
            if other.relation == question.relation
            for name, value in other.facts
            if name == question.relation and normal_form(value) not in old
        )
        new = next(others, None)
        if own and new is not None:
            kept = tuple(fact for fact in question.facts if fact[0] != question.relation)
            facts = (*kept, (question.relation, new))
            found.append(replace(question, answers=(new,), facts=facts))
    return found


def without_fact(questions: Sequence[TestQuestion]) -> list[TestQuestion]:
    """Return the questions without the fact that they ask for; a right answer is then unlikely."""
    return [
        replace(q, facts=tuple(fact for fact in q.facts if fact[0] != q.relation))
        for q in questions
    ]


def evaluate_questions(
    loaded: Any,
    questions: Sequence[TestQuestion],
    source: Source | None = None,
    *,
    policies: Mapping[str, Policy | str] | Sequence[Policy | str] = ("never",),
    max_new_tokens: int = MAX_ANSWER_TOKENS,
    seed: int = 0,
    store: AnswerStore | None = None,
    **settings: Any,
) -> QuestionsResult:
    """Ask a model all questions under each policy, and count right answers.

    Args:
        loaded: the model.
        questions: the questions.
        source: answers the calls; None for the model alone.
        policies: when to call, by condition name; ``"never"`` is the model alone. Policies without
            names name their conditions themselves.
        max_new_tokens: maximum number of tokens per answer.
        seed: seed of the bootstrap over questions.
        store: keeps the answers, so that a stopped measurement goes on.
        settings: other arguments of ``lacy.cascade.Engine``, such as a calibration.
    """
    from lacy.cascade import Engine

    found: dict[str, QuestionAnswers] = {}
    named = isinstance(policies, Mapping)
    by_name = policies if isinstance(policies, Mapping) else {str(p): p for p in policies}
    for key, policy in by_name.items():
        engine = Engine(loaded, source, policy, max_new_tokens=max_new_tokens, **settings)
        begin = time.process_time()
        answers = ask_all(engine, [question.text for question in questions], store)
        seconds = (time.process_time() - begin) / max(1, len(questions))
        counts = question_counts(questions, answers)
        never = engine.never_calls or source is None
        name = key if named else "alone" if never else key
        found[name] = QuestionAnswers(
            name, str(engine.policy), ratio_scores(counts, seed=seed),
            _by_group(questions, counts, seed), seconds, counts, tuple(answers),
            unique_names([question.text for question in questions]),
        )  # fmt: skip
    texts = [question.text.casefold() for question in questions]
    return QuestionsResult(found, len(texts) - len(set(texts)))


def ask_all(engine: Engine, questions: Sequence[str], store: AnswerStore | None) -> list[Answer]:
    """Ask questions, each as a chat of its own, many at a time.

    Args:
        engine: the model and its source. With a policy that has a state, such as a budget, each
            question is asked alone, so that it gets a budget of its own.
        questions: the users' messages.
        store: keeps the answers, so that a stopped measurement goes on.
    """

    def ask_batch(batch: Sequence[str]) -> list[Answer]:
        sequences = [question_sequence(engine, question) for question in batch]
        engine.run(sequences)
        return [sequence.answer() for sequence in sequences]

    alone = engine.policy.start() is not engine.policy
    return stored_texts(
        engine, questions, ask_batch, store, batch=1 if alone else engine.batch_size
    )


def ask(engine: Engine, question: str, number: int = 0) -> Answer:
    """Ask one question as a chat of its own.

    Args:
        engine: the model and its source.
        question: the user's message.
        number: the number of the text, for sampling.
    """
    sequence = question_sequence(engine, question, number)
    engine.run([sequence])
    return sequence.answer()


def question_sequence(engine: Engine, question: str, number: int = 0) -> TextSequence:
    """Return the sequence that answers a message; arguments as for ``ask``."""
    from lacy.cascade import question_in, render_chat

    messages = [{"role": "user", "content": question}]
    prompt, ids = f"Question: {question}\nAnswer:", list[int]()
    if getattr(engine.tokenizer, "chat_template", None):
        chat = render_chat(messages, engine.tokenizer)
        prompt, ids = chat.text, chat.tokens()
    limit = int(engine.max_new_tokens)
    return engine.sequence(number, prompt, None, limit, ids, question_in(messages))


def normal_form(text: str) -> str:
    """Return a text in lower case without accents, punctuation, articles and double spaces."""
    words = re.findall(r"\w+", without_accents(text).casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def contains_answer(text: str, accepted: Sequence[str]) -> bool:
    """True if a text contains one of the accepted answers as whole words."""
    given = f" {normal_form(text)} "
    return any(f" {normal_form(answer)} " in given for answer in accepted)


def question_counts(
    questions: Sequence[TestQuestion], answers: Sequence[Answer]
) -> dict[str, NDArray[np.float64]]:
    """Return the counts of each question by name (``QUESTION_COUNTS``)."""
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        borrowed = [s.text for s in answer.spans if s.speaker not in ("prompt", "slm")]
        contained = contains_answer(answer.continuation, question.answers)
        value = normal_form(borrowed[0] if borrowed else answer.continuation)
        exact = value in {normal_form(text) for text in question.answers}
        empty = not answer.continuation.strip()
        rows.append((1, contained, exact, bool(borrowed), contained and bool(borrowed), empty))
    table = np.array(rows, dtype=float).reshape(-1, len(QUESTION_COUNTS))
    return dict(zip(QUESTION_COUNTS, table.T, strict=True))


def _by_group(
    questions: Sequence[TestQuestion], counts: Mapping[str, NDArray[np.float64]], seed: int
) -> dict[str, Score]:
    """Return the share of right answers by relation and by quartile of popularity."""
    groups: dict[str, list[int]] = {}
    for n, question in enumerate(questions):
        if question.relation:
            groups.setdefault(question.relation, []).append(n)
    popular = [(q.popularity, n) for n, q in enumerate(questions) if q.popularity is not None]
    for place, (_, n) in enumerate(sorted(popular)):
        quartile = QUARTILES * place // len(popular) + 1
        groups.setdefault(f"popularity {quartile} of {QUARTILES}", []).append(n)
    return {
        name: ratio_scores({key: value[rows] for key, value in counts.items()}, seed=seed)[
            "answers_right"
        ]
        for name, rows in groups.items()
    }
