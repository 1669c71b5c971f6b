"""Evaluation on held-out articles: the article itself is both the source and the judge.

The model writes each held-out article from its beginning. A database of the values that an
annotator finds in the article answers the calls (so the source is known to have the facts), and a
name, number or date is right if the article contains it. The model alone, calls at random positions
and calls chosen by the model are compared at equal call rate.

Values from the source are nearly always in the article by construction, so the figure rewards calls
at values rather than elsewhere; it does not measure whether the right value is in the right place.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError
from lacy.evaluate.entities import ArticleText, EntityScores, Extract, entity_precision, words
from lacy.evaluate.lookahead import look_ahead
from lacy.evaluate.results import Result, results_of
from lacy.evaluate.statistics import NO_DATA, Score
from lacy.types import Answer, Document, Mark, Reply, Request, Unit, call_rate

if TYPE_CHECKING:
    from lacy.cascade import Calibration, Policy
    from lacy.sources import Source

PROMPT_WORDS = 4
"""Number of words in the prompt if an article's text does not begin with its title."""


@dataclass(frozen=True, slots=True)
class ArticleAnswers:
    """The answers of a model to all articles under one condition, and their scores."""

    policy: str
    scores: EntityScores
    call_rate: float
    """Realised share of generated tokens that came from calls."""
    answers: tuple[Answer, ...] = field(metadata=NO_DATA)


@dataclass(frozen=True, slots=True)
class ArticlesResult:
    """Everything that was measured of one model on articles."""

    conditions: dict[str, ArticleAnswers]
    """By the name that the caller gave the policy."""
    articles: int
    seed: int = 0

    def results(self) -> list[Result]:
        """Return the metrics of each condition."""
        found = []
        for name, asked in self.conditions.items():
            scores = {
                "entities_right": asked.scores.precision,
                "own_entities_right": asked.scores.own_precision,
                "borrowed_entities_right": asked.scores.borrowed_precision,
                "entities_per_text": asked.scores.per_text,
                "call_rate": Score(asked.call_rate, math.nan, math.nan, self.articles),
            }
            conditions = {"condition": name, "policy": asked.policy, "source": "article"}
            found += results_of(scores, seed=self.seed, conditions=conditions)
        return found


def evaluate_articles(
    loaded: Any,
    articles: Sequence[Document],
    extract: Extract,
    policies: Mapping[str, Policy | str] | Sequence[str] = ("never",),
    *,
    unit: Unit = "value",
    max_new_tokens: int = 128,
    seed: int = 0,
    **engine: Any,
) -> ArticlesResult:
    """Evaluate a model on held-out articles under several policies.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        articles: held-out texts; ``meta["title"]`` is the subject of each.
        extract: finds the values of the articles (for the database) and the entities of the
            answers (for the scores); see ``entities.default_extract``.
        policies: when to call, by name (or their texts, which then are the names); the text
            ``"oracle"`` calls wherever the model itself would begin a name, number or date,
            ``"oracle=0.22"`` at the first of them (``lookahead``).
        unit: how much one call returns.
        max_new_tokens: of an answer.
        seed: of the bootstrap.
        engine: more arguments of ``cascade.Engine`` (``calibration=calibrate_on(...)``).
    """
    from lacy.cascade import Engine
    from lacy.sources.db import Database

    texts = [article.text for article in articles]
    subjects = [article_subject(article) for article in articles]
    prompts = [article_prompt(article) for article in articles]
    named = policies if isinstance(policies, Mapping) else {text: text for text in policies}
    conditions = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "articles.sqlite"
        marked = with_values(articles, extract)
        write_values(path, ((article_subject(a), a.text, a.marks) for a in marked))
        with Database(path, name="article") as database:
            source = UnstatedOnly(database)

            def under(policy: Policy | str) -> Engine:
                return Engine(
                    loaded, source, policy, unit=unit, max_new_tokens=max_new_tokens, **engine
                )

            for name, policy in named.items():
                rate = oracle_rate(policy)
                if rate is not None:
                    answers = look_ahead(under, prompts, subjects, extract, rate=rate)
                    shown = str(policy)
                else:
                    made = under(policy)
                    shown, answers = str(made.policy), made.generate(prompts, subjects)
                scores = entity_precision(answers, texts, extract, seed=seed)
                conditions[name] = ArticleAnswers(shown, scores, call_rate(answers), tuple(answers))
    return ArticlesResult(conditions, len(articles), seed)


def oracle_rate(policy: Policy | str) -> float | None:
    """Return the maximum call rate of ``"oracle"`` or ``"oracle=0.22"``; None for other policies.

    Raises:
        LacyError: E61 if it is not a share.
    """
    if not isinstance(policy, str) or policy.partition("=")[0] != "oracle":
        return None
    try:
        rate = float(policy.partition("=")[2] or 1)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        why = "oracle takes a share of tokens between 0 and 1"
        raise LacyError("E61", policy=policy, why=why, forms="oracle, oracle=0.22")
    return rate


def with_values(articles: Sequence[Document], extract: Extract) -> list[Document]:
    """Return the articles with the values that calls can return as their marks.

    Only the first mention of a value counts; what the prompt gives (the name of the subject, whole
    or in part) is not a value.
    """
    found = []
    marks = extract([article.text for article in articles])
    for article, all_marks in zip(articles, marks, strict=True):
        known, seen, values = ArticleText(article_prompt(article)), set[tuple[str, ...]](), []
        for mark in all_marks:
            value = article.text[mark.start : mark.end]
            key = tuple(words(value))
            if mark.reason == "CONTENT" or not key or key in seen or known.contains(value):
                continue
            seen.add(key)
            values.append(mark)
        found.append(replace(article, marks=tuple(values)))
    return found


def calibrate_on(loaded: Any, articles: Sequence[Document], extract: Extract) -> Calibration:
    """Calibrate a model on the values of other articles (see ``cascade.calibrate``).

    Args:
        loaded: the model.
        articles: a hundred or so, others than those that scores are taken on.
        extract: finds their values, as in ``evaluate_articles``.
    """
    from lacy.cascade import calibrate, truncate_document
    from lacy.model import context_of

    length = context_of(loaded.model)
    marked = with_values(articles, extract)
    return calibrate(loaded, (truncate_document(a, loaded.tokenizer, length) for a in marked))


class UnstatedOnly:
    """A source that does not offer values that the text already contains.

    Args:
        source: offers candidates.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies of the source without the values that stand in the text."""
        replies = await self.source.ask(requests)
        return [self._new(q.text, reply) for q, reply in zip(requests, replies, strict=True)]

    def _new(self, text: str, reply: Reply) -> Reply:
        stated = f" {' '.join(words(text))} "
        new = tuple(c for c in reply.candidates if f" {' '.join(words(c.text))} " not in stated)
        if reply.candidates and not new:
            return replace(
                reply, candidates=(), error=f"{self.name}: all of it is already in the text"
            )
        return replace(reply, candidates=new)


def write_values(path: Path, annotated: Iterable[tuple[str, str, Sequence[Mark]]]) -> None:
    """Write a database ``fact(subject, relation, value)`` of marked values.

    Args:
        path: a file that does not exist yet.
        annotated: subject, text and marks of each article; the reason stands as the relation.
    """
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.execute("CREATE INDEX fact_subject ON fact (subject)")
        for subject, text, marks in annotated:
            rows = [
                (subject, mark.relation or mark.reason, text[mark.start : mark.end])
                for mark in marks
                if mark.reason != "CONTENT"
            ]
            db.executemany("INSERT INTO fact VALUES (?, ?, ?)", dict.fromkeys(rows))


def article_subject(article: Document) -> str:
    """Return the subject of an article as a name that no other article has."""
    title = article.meta.get("title")
    return f"{title} ({article.id})" if isinstance(title, str) and title else article.id


def article_prompt(article: Document) -> str:
    """Return the prompt: the title if the text begins with it, otherwise a few words."""
    title = article.meta.get("title")
    if isinstance(title, str) and title and article.text.startswith(title):
        return title
    words = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", article.text)
    return words.group() if words else article.text
