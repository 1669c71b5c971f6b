"""The sections of a scorecard: what is measured, alone and in cascade."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lacy.results import AnswerStore, Measurement
from lacy.scorecard.combined import Combined
from lacy.scorecard.costs import measure_costs
from lacy.scorecard.inputs import ScorecardInputs, content_key
from lacy.scorecard.judged import measure_judged
from lacy.scorecard.measuring import Section
from lacy.scorecard.true_texts import measure_head, measure_losses

if TYPE_CHECKING:
    from lacy.evaluate import TestQuestion
    from lacy.sources import Source
    from lacy.types import Document

ALONE, CASCADE = "alone", "cascade"
"""Names of the two conditions of every section that generates text."""

_BRACKETS = re.compile(r" \(.*\)$")
"""What Wikipedia adds to a title to tell it from others: ``Mercury (planet)``."""


def scorecard_sections(loaded: Any, inputs: ScorecardInputs) -> list[Section]:
    """Return all sections of a scorecard, also those for which a file is missing.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        inputs: files and limits.

    Raises:
        OSError: a file cannot be read.
    """
    return [
        _openings(loaded, inputs),
        _articles(loaded, inputs),
        _questions(loaded, inputs),
        _judged(loaded, inputs),
        _audit(loaded, inputs),
        _language(loaded, inputs),
        _tasks(inputs),
        _saturation(loaded, inputs),
        _costs(loaded, inputs),
    ]


def _section(
    name: str,
    title: str,
    question: str,
    inputs: ScorecardInputs,
    measure: Callable[[AnswerStore], Measurement],
    *,
    needs: str = "",
    reads: Sequence[str] = (),
    extra: str = "",
) -> Section:
    """Return a section; one without its file says how to give it.

    Args:
        name: name of the section and of its files.
        title: heading.
        question: what the section tells.
        inputs: the inputs.
        measure: measures it.
        needs: the field of ``inputs`` with the file that the section needs.
        reads: other fields that its results depend on.
        extra: the optional extra that it needs.
    """
    settings = {key: asdict(inputs)[key] for key in (*reads, "seed")}
    if needs:
        path = getattr(inputs, needs)
        if path is None:
            return Section(name, title, question, missing=f"give --{needs.replace('_', '-')} FILE")
        settings[needs] = content_key(Path(path))
    return Section(name, title, question, settings, measure, extra=extra)


def _policies(loaded: Any, inputs: ScorecardInputs) -> dict[str, str]:
    """Return the policy of each condition: never, and what suits the model with a lookup."""
    from lacy.cascade import lookup_policy

    return {ALONE: "never", CASCADE: inputs.policy or str(lookup_policy(loaded))}


def _openings(loaded: Any, inputs: ScorecardInputs) -> Section:
    return _section(
        "openings", "Sentences about facts in a database",
        "Does it complete \u201cMarie Curie was born in\u201d with the true value?",
        inputs, partial(_measure_openings, loaded, inputs), reads=("subjects", "policy"),
    )  # fmt: skip


def _measure_openings(loaded: Any, inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    from lacy.evaluate import evaluate_shipped_facts

    return evaluate_shipped_facts(
        loaded, _policies(loaded, inputs), subjects=inputs.subjects, seed=inputs.seed, store=answers
    )


def _articles(loaded: Any, inputs: ScorecardInputs) -> Section:
    return _section(
        "articles", "Continuations of articles",
        "Are the names, numbers and dates that it writes those of the article?",
        inputs, partial(_measure_articles, loaded, inputs), needs="articles",
        reads=("items", "max_new_tokens", "only", "pipeline", "policy"), extra="spacy",
    )  # fmt: skip


def scored_articles(inputs: ScorecardInputs) -> list[Document]:
    """Return the articles to measure on."""
    from lacy.corpus import read

    assert inputs.articles is not None
    return list(itertools.islice(read(inputs.articles, only=inputs.only), inputs.items))


def _measure_articles(loaded: Any, inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    from lacy import evaluate

    articles = scored_articles(inputs)
    extract = evaluate.default_extract(inputs.pipeline)
    prompts = evaluate.article_prompts(articles, extract)
    conditions = {}
    with evaluate.open_article_source("values", articles, extract, prompts) as (source, subjects):
        for name, policy in _policies(loaded, inputs).items():
            conditions[name] = evaluate.answer_articles(
                loaded, articles, extract, policy, source, prompts, subjects,
                max_new_tokens=inputs.max_new_tokens, seed=inputs.seed, store=answers,
            )  # fmt: skip
    return evaluate.ArticlesResult(conditions, len(articles), "values", inputs.seed)


def _questions(loaded: Any, inputs: ScorecardInputs) -> Section:
    return _section(
        "questions", "Answers to questions",
        "Does an answer contain an accepted value?",
        inputs, partial(_measure_questions, loaded, inputs), needs="questions",
        reads=("items", "policy"),
    )  # fmt: skip


def _measure_questions(loaded: Any, inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    from lacy import evaluate

    assert inputs.questions is not None
    questions = evaluate.read_questions(inputs.questions)
    asked = _sample(questions, inputs)
    with question_source(questions) as source:
        policies = _policies(loaded, inputs)
        if source is None:
            del policies[CASCADE]
        return evaluate.evaluate_questions(
            loaded, asked, source, policies=policies, seed=inputs.seed, store=answers
        )


def _sample(questions: Sequence[TestQuestion], inputs: ScorecardInputs) -> list[TestQuestion]:
    """Return a sample of the questions in their order."""
    if len(questions) <= inputs.items:
        return list(questions)
    chosen = random.Random(inputs.seed).sample(range(len(questions)), inputs.items)
    return [questions[n] for n in sorted(chosen)]


@contextmanager
def question_source(questions: Sequence[TestQuestion]) -> Iterator[Source | None]:
    """Open what answers questions: a database of their facts, or an index of their paragraphs.

    Yields:
        The source; None if the questions have neither facts nor paragraphs.
    """
    from lacy import evaluate
    from lacy.sources.db import Database
    from lacy.sources.texts import Documents
    from lacy.types import Document

    with TemporaryDirectory() as folder:
        if any(question.facts for question in questions):
            path = evaluate.facts_database(questions, Path(folder) / "facts.sqlite")
            with Database(path, name="facts") as database:
                yield database
            return
        paragraphs = {pair: None for question in questions for pair in question.paragraphs}
        if not paragraphs:
            yield None
            return
        texts = [
            Document(f"p{n}", text, meta={"title": _BRACKETS.sub("", title)})
            for n, (title, text) in enumerate(paragraphs)
        ]
        with Documents.build(texts, Path(folder) / "index") as index:
            yield index


def _judged(loaded: Any, inputs: ScorecardInputs) -> Section:
    return _section(
        "factscore", "Facts in free texts, by a judge",
        "Which share of the facts that it writes about a topic does the topic's article support?",
        inputs, partial(_measure_judged, loaded, inputs), needs="articles",
        reads=("topics", "only", "judge", "facts", "policy"), extra="spacy",
    )  # fmt: skip


def _measure_judged(loaded: Any, inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    articles = [a for a in scored_articles(inputs) if a.meta.get("title")][: inputs.topics]
    return measure_judged(loaded, inputs, articles, _policies(loaded, inputs), answers)


def _audit(loaded: Any, inputs: ScorecardInputs) -> Section:
    return _section(
        "audit", "Deleted and edited facts",
        "Is a fact gone once it is deleted from the database, and does an edit take effect?",
        inputs, partial(_measure_audit, loaded, inputs), needs="audit",
        reads=("audited", "policy"),
    )  # fmt: skip


def _measure_audit(loaded: Any, inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    from lacy import evaluate

    assert inputs.audit is not None
    databases = evaluate.read_audit(inputs.audit, facts=inputs.audited, seed=inputs.seed)
    policy = _policies(loaded, inputs)[CASCADE]
    found = evaluate.evaluate_audit(
        loaded, databases, policy=policy, seed=inputs.seed, store=answers
    )
    return Combined({CASCADE: found})


def _language(loaded: Any, inputs: ScorecardInputs) -> Section:
    def run(_: AnswerStore) -> Measurement:  # nothing is generated
        articles, policies = scored_articles(inputs), _policies(loaded, inputs)
        return measure_losses(loaded, inputs, articles, policies)

    return _section(
        "language", "Language",
        "How well does it predict true texts, on facts and elsewhere, and what do calls cost?",
        inputs, run, needs="articles", reads=("items", "only", "pipeline", "policy"),
        extra="spacy",
    )  # fmt: skip


def _saturation(loaded: Any, inputs: ScorecardInputs) -> Section:
    def run(answers: AnswerStore) -> Measurement:
        return measure_head(loaded, inputs, scored_articles(inputs), answers)

    return _section(
        "saturation", "Saturation of the output head", "Does its head limit what it can learn?",
        inputs, run, needs="articles", reads=("items", "only", "pipeline"), extra="spacy",
    )  # fmt: skip


def _tasks(inputs: ScorecardInputs) -> Section:
    name, title = "tasks", "Tasks of lm-eval"
    question = "How does it do on benchmarks, without calls?"
    if not inputs.tasks:
        return Section(name, title, question, missing="give --tasks NAME or FILE.yaml")
    settings = {
        "tasks": [content_key(Path(t)) if Path(t).is_file() else t for t in inputs.tasks],
        "items": inputs.items,
    }
    measure = partial(_measure_tasks, inputs)
    return Section(name, title, question, settings, measure, extra="harness")


def _measure_tasks(inputs: ScorecardInputs, answers: AnswerStore) -> Measurement:
    from lacy.harness import LacyLM, quiet_harness, run_tasks

    with quiet_harness():
        lm = LacyLM(inputs.model, "never", begin="auto", answers=answers)
    return Combined({ALONE: run_tasks(lm, inputs.tasks, limit=inputs.items, seed=inputs.seed)})


def _costs(loaded: Any, inputs: ScorecardInputs) -> Section:
    def run(_: AnswerStore) -> Measurement:  # a time cannot be stored and continued
        return measure_costs(loaded, inputs, _policies(loaded, inputs))

    return _section(
        "costs", "Size, speed, memory and energy", "What does it cost?", inputs, run,
        reads=("policy",),
    )  # fmt: skip
