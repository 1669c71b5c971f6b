"""The section of facts that a judge decides on: texts about topics against their pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lacy.results import AnswerStore, Measurement
from lacy.scorecard.combined import Combined
from lacy.scorecard.inputs import ScorecardInputs

if TYPE_CHECKING:
    from lacy.types import Document

TOKENS = 128
"""Maximum length of a text about a topic."""

QUESTION = "Tell me a bio of {}."
"""The original's request (Min et al. 2023); topics that are no people get ``ABOUT``."""

ABOUT = "Tell me about {}."


def topic_question(topic: str, *, people: bool) -> str:
    """Return what the model is asked about a topic."""
    return (QUESTION if people else ABOUT).format(topic)


def measure_judged(
    loaded: Any,
    inputs: ScorecardInputs,
    articles: Sequence[Document],
    policies: dict[str, str],
    answers: AnswerStore,
) -> Measurement:
    """Let a model write about the articles' titles, and judge its facts by the articles.

    In cascade, an index of the articles answers the calls. It is known to have the facts; what is
    measured is whether the model asks where it should, and uses what it gets.

    Args:
        loaded: the model.
        inputs: judge, way of splitting texts, and limits.
        articles: articles with titles.
        policies: when to call, by condition.
        answers: keeps texts, facts and verdicts.
    """
    from tempfile import TemporaryDirectory

    from lacy import factscore, judges
    from lacy.cascade import Engine
    from lacy.evaluate import ask_all
    from lacy.sources.texts import Documents

    topics = [str(article.meta["title"]) for article in articles]
    people = inputs.only == "is_biography"
    questions = [topic_question(topic, people=people) for topic in topics]
    pages = {topic: article.text for topic, article in zip(topics, articles, strict=True)}
    judge = judges.open_judge(inputs.judge or judges.DEFAULT_JUDGE)
    facts = factscore.open_facts(inputs.facts)
    parts: dict[str, Measurement] = {}
    with TemporaryDirectory() as folder, Documents.build(articles, f"{folder}/index") as index:
        for name, policy in policies.items():
            engine = Engine(loaded, index, policy, max_new_tokens=TOKENS)
            texts = [answer.continuation for answer in ask_all(engine, questions, answers)]
            responses = [
                factscore.TopicResponse(topic, text)
                for topic, text in zip(topics, texts, strict=True)
            ]
            parts[name] = factscore.score_responses(
                responses, pages, judge, facts, store=answers,
                agreement=factscore.known_agreement(judge.name),
            )  # fmt: skip
    return Combined(parts)
