"""Evaluation on held-out articles: the article itself is both the source and the judge.

The model continues the beginning of each held-out article. Calls are answered from a database of
the values that an annotator found in the article, so the source is known to have the facts. A
generated name, number or date counts as right if the article contains it. The model alone, random
calls and calls chosen by the model are compared at the same call rate.

Values from the source are nearly always in the article by construction. The score therefore rewards
calling where a value is due; it does not measure whether the right value is in the right place.
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

from lacy._text import normalized_words
from lacy.annotate.grammar import trim_value
from lacy.errors import LacyError
from lacy.evaluate.entities import (
    ArticleText,
    EntityScores,
    Extract,
    entity_precision,
)
from lacy.evaluate.lookahead import look_ahead
from lacy.evaluate.results import Result, results_of
from lacy.evaluate.statistics import NO_DATA, Score
from lacy.types import Answer, Document, Mark, Unit, call_rate

if TYPE_CHECKING:
    from lacy.cascade import Calibration, Policy

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
    """The answers by condition name."""
    articles: int
    """Number of articles."""
    seed: int = 0

    def results(self) -> list[Result]:
        """Return the metrics of each condition."""
        results = []
        for name, answers in self.conditions.items():
            scores = {
                "entities_right": answers.scores.precision,
                "own_entities_right": answers.scores.own_precision,
                "borrowed_entities_right": answers.scores.borrowed_precision,
                "entities_per_text": answers.scores.per_text,
                "call_rate": Score(answers.call_rate, math.nan, math.nan, self.articles),
            }
            conditions = {"condition": name, "policy": answers.policy, "source": "article"}
            results += results_of(scores, seed=self.seed, conditions=conditions)
        return results


def evaluate_articles(
    loaded: Any,
    articles: Sequence[Document],
    extract: Extract,
    policies: Mapping[str, Policy | str] | Sequence[str] = ("never",),
    *,
    unit: Unit = "value",
    max_new_tokens: int = 128,
    seed: int = 0,
    **engine_options: Any,
) -> ArticlesResult:
    """Evaluate a model on held-out articles under several policies.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        articles: held-out texts; ``meta["title"]`` is the subject of each.
        extract: finds the values of the articles (for the database) and the entities of the
            answers (for the scores); see ``entities.default_extract``.
        policies: a policy per condition name, or policy texts that serve as their own names.
            ``"oracle"`` calls wherever the model itself would begin a name, number or date;
            ``"oracle=0.22"`` does so until 22% of the tokens come from calls (``lookahead``).
        unit: how much text one call returns.
        max_new_tokens: maximum length of an answer.
        seed: seed of the bootstrap.
        engine_options: further arguments of ``cascade.Engine`` (``calibration=calibrate_on(...)``).
    """
    from lacy.cascade import Engine
    from lacy.sources.db import Database

    texts = [article.text for article in articles]
    subjects = [article_subject(article) for article in articles]
    prompts = [article_prompt(article) for article in articles]
    policy_by_name = (
        policies if isinstance(policies, Mapping) else {text: text for text in policies}
    )
    conditions = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "articles.sqlite"
        marked = mark_values(articles, extract)
        write_values(path, ((article_subject(a), a.text, a.marks) for a in marked))
        with Database(path, name="article") as database:

            def make_engine(policy: Policy | str) -> Engine:
                return Engine(
                    loaded,
                    database,
                    policy,
                    unit=unit,
                    max_new_tokens=max_new_tokens,
                    **engine_options,
                )

            for name, policy in policy_by_name.items():
                rate = oracle_rate(policy)
                if rate is not None:
                    answers = look_ahead(make_engine, prompts, subjects, extract, rate=rate)
                    policy_text = str(policy)
                else:
                    engine = make_engine(policy)
                    policy_text = str(engine.policy)
                    answers = engine.generate(prompts, subjects)
                scores = entity_precision(answers, texts, extract, seed=seed)
                conditions[name] = ArticleAnswers(
                    policy_text, scores, call_rate(answers), tuple(answers)
                )
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


def mark_values(articles: Sequence[Document], extract: Extract) -> list[Document]:
    """Return the articles with marks on the values that a call can return.

    Only the first mention of a value is marked. What the prompt already gives, such as the
    subject's name or a part of it, is not marked.
    """
    marked_articles = []
    marks = extract([article.text for article in articles])
    for article, article_marks in zip(articles, marks, strict=True):
        prompt_text, seen, values = ArticleText(article_prompt(article)), set[tuple[str, ...]](), []
        for mark in article_marks:
            start, end = trim_value(article.text, mark.start, mark.end)
            value = article.text[start:end]
            key = tuple(normalized_words(value))
            if mark.reason == "CONTENT" or not key or key in seen or prompt_text.contains(value):
                continue
            seen.add(key)
            values.append(replace(mark, start=start, end=end))
        marked_articles.append(replace(article, marks=tuple(values)))
    return marked_articles


def calibrate_on(loaded: Any, articles: Sequence[Document], extract: Extract) -> Calibration:
    """Calibrate a model on the values of other articles (see ``cascade.calibrate``).

    Args:
        loaded: the model.
        articles: about a hundred articles that are not used for scoring.
        extract: finds their values (see ``evaluate_articles``).
    """
    from lacy.cascade import calibrate, truncate_document
    from lacy.model import context_of

    length = context_of(loaded.model)
    marked = mark_values(articles, extract)
    return calibrate(loaded, (truncate_document(a, loaded.tokenizer, length) for a in marked))


def write_values(path: Path, annotated: Iterable[tuple[str, str, Sequence[Mark]]]) -> None:
    """Write a database ``fact(subject, relation, value)`` of marked values.

    Args:
        path: a file that does not exist yet.
        annotated: subject, text and marks of each article. The relation of a mark that has none is
            its reason.
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
    beginning = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", article.text)
    return beginning.group() if beginning else article.text
