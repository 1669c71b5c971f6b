"""Recall: does a text state enough facts (F1@K), and which facts of the page does it hold?

F1@K is that of SAFE (Wei et al. 2024, arXiv 2403.18802): precision is the share of supported facts,
recall is ``min(1, supported / K)`` with K facts wished for, and F1 is their harmonic mean; a text
without supported facts has 0. ``page_recall`` swaps the roles: the facts of the page are judged
against the text.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lacy.factscore.asking import Progress, judge_claims, make_facts, no_progress
from lacy.factscore.facts import FactMaker, checked_facts
from lacy.factscore.measured import FactScoreResult, ScoredResponse
from lacy.factscore.pages import MappedPages, PageStore, TitledPages, TitleMatch
from lacy.factscore.passages import PASSAGES, PassageRanking, split_page
from lacy.factscore.sentences import split_sentences
from lacy.judges import Claim, Judge
from lacy.results import AnswerStore, Result, Score, ratio, results_of

_HEADING = re.compile(r"(?:[A-Z][\w-]*(?: [\w-]+){0,4}\. )+(?=[A-Z])")

PAGE_FACTS = 40
"""Number of facts of a page that are looked for, from its beginning: a page's first paragraphs say
what a text about the topic should say."""


@dataclass(frozen=True, slots=True)
class RecallAtK:
    """F1@K of a set of responses.

    Attributes:
        k: number of supported facts that make a complete text.
        precision: mean share of supported facts, over texts with a judged fact.
        recall: mean of ``min(1, supported / k)`` over all texts, silent ones included.
        f1: mean F1 over all texts; a silent one has 0.
    """

    k: int
    precision: Score
    recall: Score
    f1: Score
    conditions: Mapping[str, str]
    seed: int = 0

    def results(self) -> list[Result]:
        """Return every value as a result."""
        scores = {
            "fact_precision": self.precision,
            "fact_recall_at_k": self.recall,
            "fact_f1_at_k": self.f1,
        }
        return results_of(scores, seed=self.seed, conditions=self.conditions)


def recall_at_k(measured: FactScoreResult, k: int | None = None) -> RecallAtK:
    """Return F1@K of scored responses.

    Args:
        measured: the outcome of ``score_responses``.
        k: number of supported facts that make a complete text; None takes the median number of
            facts of the responses. Compare models with the same ``k`` only.
    """
    facts = [len(response.decisions) for response in measured.responding]
    number = k or max(1, round(statistics.median(facts))) if facts else k or 1
    judged = [response for response in measured.responses if response.judged]
    every = measured.responses
    return RecallAtK(
        number,
        _mean(judged, [response.init_score for response in judged], measured.seed),
        _mean(every, [min(1.0, response.supported / number) for response in every], measured.seed),
        _mean(every, [f1_at_k(r.supported, r.judged, number) for r in every], measured.seed),
        {**measured.conditions(), "K": str(number)},
        measured.seed,
    )


def f1_at_k(supported: int, judged: int, k: int) -> float:
    """Return F1@K of one text."""
    if not supported:
        return 0.0
    precision, recall = supported / judged, min(1.0, supported / k)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class PageRecall:
    """Which facts of the topics' pages the texts hold.

    Attributes:
        topics: the topics with a page, one per response.
        held: per response, the facts of the page that the text holds.
        looked_for: per response, the facts of the page that were judged.
        unjudged: facts of pages without a verdict.
        without_page: responses whose topic has no page.
        judge: the judge's name.
        agreement: its agreement with people, in one line.
        facts: what split the pages into facts.
        seed: seed of the bootstrap.
    """

    topics: tuple[str, ...]
    held: tuple[tuple[str, ...], ...]
    looked_for: tuple[tuple[str, ...], ...]
    unjudged: int
    without_page: int
    judge: str
    agreement: str
    facts: str
    seed: int = 0

    def results(self) -> list[Result]:
        """Return every value as a result."""
        sums: dict[str, list[float]] = {}
        for topic, held, wanted in zip(self.topics, self.held, self.looked_for, strict=True):
            if wanted:
                one = sums.setdefault(topic, [0.0, 0.0])
                one[0] += len(held) / len(wanted)
                one[1] += 1.0
        rows = np.array(list(sums.values())).reshape(-1, 2)
        stated = self.unjudged + sum(map(len, self.looked_for))
        share = self.unjudged / stated if stated else math.nan
        scores = {
            "page_facts_held": ratio(rows[:, 0], rows[:, 1], seed=self.seed),
            "page_facts_unjudged": Score(share, math.nan, math.nan, stated),
        }
        conditions = {
            "judge": self.judge, "agreement": self.agreement, "facts": self.facts,
            "page facts": str(PAGE_FACTS),
        }  # fmt: skip
        return results_of(scores, seed=self.seed, conditions=conditions)


def page_recall(
    measured: FactScoreResult,
    pages: PageStore | Mapping[str, str | Sequence[str]],
    judge: Judge,
    facts: FactMaker,
    *,
    titles: TitleMatch = "exact",
    most: int = PAGE_FACTS,
    store: AnswerStore | None = None,
    progress: Progress = no_progress,
) -> PageRecall:
    """Look for the facts of the topics' pages in the texts, with the same judge.

    The judge agreed with people on facts of texts, given passages of pages; here it gets facts of
    pages, given texts. Silent responses hold nothing.

    Args:
        measured: the outcome of ``score_responses`` on the same responses.
        pages: the pages.
        judge: decides whether a text supports a fact.
        facts: splits the page into facts.
        titles: how topics find their pages.
        most: number of facts per page, from its beginning.
        store: answers so far.
        progress: called as by ``score_responses``.
    """
    opened = MappedPages(pages) if isinstance(pages, Mapping) else pages
    answers = AnswerStore() if store is None else store
    titled = TitledPages(opened, titles)
    found = [(response, titled.find(response.topic)[1]) for response in measured.responses]
    paged = [(response, passages) for response, passages in found if passages]
    page_facts = _page_facts(paged, facts, most, answers, progress)
    claims = [_page_claims(r, page_facts[r.topic]) for r, _ in paged]
    judgments = judge_claims(judge, claims, answers, progress)
    held: list[tuple[str, ...]] = []
    looked_for: list[tuple[str, ...]] = []
    unjudged = 0
    for (response, _), own in zip(paged, judgments, strict=True):
        wanted = page_facts[response.topic]
        if response.state in ("empty", "abstained"):
            held.append(())
            looked_for.append(wanted)
            continue
        verdicts = list(zip(wanted, own, strict=True))
        unjudged += sum(judgment.supported is None for _, judgment in verdicts)
        looked_for.append(tuple(fact for fact, j in verdicts if j.supported is not None))
        held.append(tuple(fact for fact, j in verdicts if j.supported))
    return PageRecall(
        tuple(response.topic for response, _ in paged),
        tuple(held),
        tuple(looked_for),
        unjudged=unjudged,
        without_page=len(found) - len(paged),
        judge=judge.name,
        agreement=measured.conditions()["agreement"],
        facts=facts.name,
        seed=measured.seed,
    )


def _page_facts(
    paged: Sequence[tuple[ScoredResponse, tuple[str, ...]]],
    maker: FactMaker,
    most: int,
    store: AnswerStore,
    progress: Progress,
) -> dict[str, tuple[str, ...]]:
    """Return the first facts of each topic's page."""
    sentences = {
        response.topic: page_sentences(response.topic, passages)[:most]
        for response, passages in paged
    }
    flat = [sentence for own in sentences.values() for sentence in own]
    made = iter(make_facts(maker, flat, store, progress))
    return {
        topic: checked_facts(own, [next(made) for _ in own]).facts[:most]
        for topic, own in sentences.items()
    }


def page_sentences(topic: str, passages: Sequence[str]) -> list[str]:
    """Return the sentences of a page without its title and headings.

    Wikipedia's texts, as the original stores them, begin with the title before the first sentence
    and with the heading before the first sentence of a section ("Career. He ...").
    """
    found = []
    for passage in passages:
        for section in re.split(r"</?s>", passage):
            text = _without_headings(section.strip())
            if text.startswith(f"{topic} {topic.split()[0]}"):
                text = text.removeprefix(topic).lstrip()
            found += split_sentences(text)
    return list(dict.fromkeys(found))


def _without_headings(section: str) -> str:
    """Return a section without "Career." at its beginning; headings have no verb we could see."""
    heading = _HEADING.match(section)
    return section[heading.end() :] if heading else section


def _page_claims(response: ScoredResponse, facts: Sequence[str]) -> list[Claim]:
    if response.state in ("empty", "abstained"):
        return []
    ranking = PassageRanking(split_page(response.text))
    return [
        Claim(fact, response.topic, ranking.best(f"{response.topic} {fact}", PASSAGES))
        for fact in facts
    ]


def _mean(responses: Sequence[ScoredResponse], values: Sequence[float], seed: int) -> Score:
    sums: dict[str, list[float]] = {}
    for response, value in zip(responses, values, strict=True):
        one = sums.setdefault(response.topic, [0.0, 0.0])
        one[0] += value
        one[1] += 1.0
    rows = np.array(list(sums.values())).reshape(-1, 2)
    return ratio(rows[:, 0], rows[:, 1], seed=seed)
