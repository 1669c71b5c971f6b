"""Evaluation on held-out articles: the article itself is both the source and the judge.

The model continues the beginning of each held-out article. Calls are answered from the article
itself (``article_sources``), so the source is known to have the facts. A generated name, number or
date counts as right if the article contains it. The model alone, random calls and calls chosen by
the model are compared at the same call rate.

Values from the source are nearly always in the article by construction. The score therefore rewards
calling where a value is due; it does not measure whether the right value is in the right place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError
from lacy.evaluate.article_counts import counts_by_length
from lacy.evaluate.article_sources import (
    VALUES,
    article_prompts,
    mark_values,
    open_article_source,
)
from lacy.evaluate.entities import Extract
from lacy.evaluate.life_counts import (
    LifeVerdict,
    Truth,
    known_people,
    life_counts,
    life_scores,
    life_verdicts,
)
from lacy.evaluate.life_facts import by_relation, read_life
from lacy.evaluate.lookahead import look_ahead
from lacy.evaluate.page_problems import page_problems, problem_results
from lacy.evaluate.stored import stored_answers, unique_names
from lacy.results import NO_DATA, AnswerStore, Result, Score, UnitCounts, ratio_scores, results_of
from lacy.types import Answer, Document, Unit

if TYPE_CHECKING:
    from lacy.cascade import Calibration, Policy
    from lacy.sources import Database, Source


CALIBRATION_TOKENS = 512
"""Maximum number of tokens per article for calibration; articles can be very long."""


@dataclass(frozen=True, slots=True)
class ArticleAnswers:
    """The answers of a model to all articles under one condition, and their scores."""

    policy: str
    scores: Mapping[str, Score]
    """Scores by metric, such as ``entities_right``."""
    counts: Mapping[str, NDArray[np.float64]] = field(metadata=NO_DATA)
    """Counts of each article by name (``ARTICLE_COUNTS``, ``LIFE_COUNTS``)."""
    answers: tuple[Answer, ...] = field(metadata=NO_DATA)
    titles: tuple[str, ...] = field(default=(), metadata=NO_DATA)
    """The title of each article, made unique."""

    by_length: Mapping[int, Mapping[str, Score]] = field(default_factory=dict)
    """The scores of the first words of each text, by their number."""
    life: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """What the texts say about people's lives: the scores of each relation that occurs."""
    verdicts: tuple[tuple[LifeVerdict, ...], ...] = field(default=(), metadata=NO_DATA)
    """What each text says about a person's life, judged."""

    @property
    def call_rate(self) -> float:
        """Realised share of generated tokens that came from calls."""
        return float(self.counts["called"].sum() / max(1.0, self.counts["tokens"].sum()))


@dataclass(frozen=True, slots=True)
class ArticlesResult:
    """Everything that was measured of one model on articles."""

    conditions: dict[str, ArticleAnswers]
    """The answers by condition name."""
    articles: int
    """Number of articles."""
    source: str = VALUES
    """What answered the calls."""
    seed: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    """Number of articles that are repeated, empty, or in another language."""

    def results(self) -> list[Result]:
        """Return the metrics of each condition."""
        results = []
        for name, answers in self.conditions.items():
            conditions = {"condition": name, "policy": answers.policy, "source": self.source}
            results += results_of(answers.scores, seed=self.seed, conditions=conditions)
            for words, scores in answers.by_length.items():
                more = conditions | {"group": f"first {words} words"}
                results += results_of(scores, seed=self.seed, conditions=more)
            for relation, scores in answers.life.items():
                more = conditions | {"group": relation}
                results += results_of(scores, seed=self.seed, conditions=more)
        return results + problem_results(self.problems, self.articles, self.seed, self.source)

    def units(self) -> list[UnitCounts]:
        """Return the counts of each article, and its text."""
        return [
            UnitCounts(
                {"condition": name, "policy": answers.policy, "source": self.source},
                answers.titles, answers.counts, tuple(a.continuation for a in answers.answers),
            )
            for name, answers in self.conditions.items()
        ]  # fmt: skip


def evaluate_articles(
    loaded: Any,
    articles: Sequence[Document],
    extract: Extract,
    policies: Mapping[str, Policy | str] | Sequence[str] = ("never",),
    *,
    source: str = VALUES,
    prompt_words: int | None = None,
    people_facts: Database | None = None,
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
        source: what answers calls, as in ``open_article_source``.
        prompt_words: words of each article that are given, as in ``article_prompts``.
        people_facts: a database of facts about people, by the articles' titles, that is the truth
            for dates and places of birth and death, nationalities and occupations; by default the
            articles are.
        seed: seed of the bootstrap.
        engine_options: as in ``answer_articles``.
    """
    by_name = policies if isinstance(policies, Mapping) else {text: text for text in policies}
    prompts = article_prompts(articles, extract, prompt_words)
    known, missing = known_people(people_facts, articles)
    problems = page_problems(articles)
    if people_facts is not None:
        problems["people_unknown"] = missing
    conditions = {}
    with open_article_source(source, articles, extract, prompts) as (opened, subjects):
        for name, policy in by_name.items():
            conditions[name] = answer_articles(
                loaded, articles, extract, policy, opened, prompts, subjects, seed=seed,
                known=known, **engine_options,
            )  # fmt: skip
    return ArticlesResult(conditions, len(articles), source, seed, problems)


def answer_articles(
    loaded: Any,
    articles: Sequence[Document],
    extract: Extract,
    policy: Policy | str,
    source: Source | None,
    prompts: Sequence[str],
    subjects: Sequence[str | None],
    *,
    unit: Unit = "value",
    max_new_tokens: int = 128,
    seed: int = 0,
    store: AnswerStore | None = None,
    known: Sequence[Truth | None] | None = None,
    **engine_options: Any,
) -> ArticleAnswers:
    """Let a model continue articles under one policy, and score its texts.

    Args:
        loaded: the model.
        articles: the articles.
        extract: finds the entities of the texts.
        policy: when to call, as in ``evaluate_articles``.
        source: what answers calls; None for nothing.
        prompts: the beginning of each article.
        subjects: the subject of each article as the source knows it.
        unit: how much text one call returns.
        max_new_tokens: maximum length of a text.
        seed: seed of the bootstrap.
        store: keeps the answers, so that a stopped measurement goes on (``stored_answers``).
        known: what is true of each article's person, instead of what the article says.
        engine_options: further arguments of ``cascade.Engine`` (``calibration=calibrate_on(...)``).
    """
    from lacy.cascade import Engine

    def make_engine(policy: Policy | str) -> Engine:
        options = {"restate": False, **engine_options}
        return Engine(loaded, source, policy, unit=unit, max_new_tokens=max_new_tokens, **options)

    rate = oracle_rate(policy)
    if rate is not None:
        answers = look_ahead(make_engine, prompts, subjects, extract, rate=rate)
        policy_text = str(policy)
    else:
        engine = make_engine(policy)
        policy_text = str(engine.policy)
        answers = stored_answers(engine, prompts, subjects, store)
    counts, shorter = counts_by_length(answers, [article.text for article in articles], extract)
    titles = unique_names([str(a.meta.get("title") or a.id) for a in articles])
    verdicts = _life_verdicts(answers, articles, known)
    counts |= life_counts(verdicts)
    scores = ratio_scores(counts, seed=seed)
    by_length = {words: ratio_scores(found, seed=seed) for words, found in shorter.items()}
    return ArticleAnswers(
        policy_text, scores, counts, tuple(answers), titles, by_length,
        life_scores(verdicts, seed), verdicts,
    )  # fmt: skip


def _life_verdicts(
    answers: Sequence[Answer], articles: Sequence[Document], known: Sequence[Truth | None] | None
) -> tuple[tuple[LifeVerdict, ...], ...]:
    """Return what each text says about its person, judged."""
    found = []
    for answer, article, truth in zip(
        answers, articles, known or [None] * len(answers), strict=True
    ):
        name = str(article.meta.get("title") or article.text[: len(answer.prompt)])
        page = by_relation(read_life(article.text, name))
        found.append(tuple(life_verdicts(answer, name, page, truth)))
    return tuple(found)


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


def calibrate_on(loaded: Any, articles: Sequence[Document], extract: Extract) -> Calibration:
    """Calibrate a model on the values of other articles (see ``cascade.calibrate``).

    Args:
        loaded: the model.
        articles: about a hundred articles that are not used for scoring; of each, at most
            ``CALIBRATION_TOKENS`` tokens are read.
        extract: finds their values (see ``evaluate_articles``).
    """
    from lacy.cascade import calibrate, truncate_document
    from lacy.model import context_of

    length = min(context_of(loaded.model), CALIBRATION_TOKENS)
    marked = mark_values(articles, extract)
    return calibrate(loaded, (truncate_document(a, loaded.tokenizer, length) for a in marked))
