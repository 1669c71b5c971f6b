"""Score the facts of responses against the pages of their topics (FActScore)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lacy.annotate import language_of
from lacy.errors import LacyError
from lacy.factscore.abstention import AbstentionRule, abstains
from lacy.factscore.agreeing import KnownAgreement, known_agreement
from lacy.factscore.asking import Progress, judge_claims, make_facts, no_progress
from lacy.factscore.facts import DateCheck, FactMaker, Repeats, checked_facts, fact_sentences
from lacy.factscore.measured import FactDecision, FactScoreResult, ScoredResponse
from lacy.factscore.pages import MappedPages, PageStore, TitledPages, TitleMatch
from lacy.factscore.passages import PassageRanking
from lacy.factscore.responses import TopicResponse
from lacy.judges import Claim, Judge, Judgment
from lacy.results import AnswerStore

GAMMA = 10.0
"""Number of facts below which a text is penalised, as in the original."""

JUDGE_LANGUAGE = "en"
"""The language that lacy's own judges and its clause splitter read."""

Languages = Literal["check", "any"]
"""``check``: responses in a language that the judge does not read are not judged. ``any``: all
are."""


@dataclass(frozen=True, slots=True)
class FactScoreSettings:
    """How responses are scored; the defaults are the original's unless a field says otherwise."""

    gamma: float = GAMMA
    """Number of facts below which the length penalty ``exp(1 - gamma / facts)`` applies; 0 turns
    it off."""
    passages: int | None = None
    """Number of passages of the topic's page that the judge gets for a fact, the best ones first.
    None gives each judge what it was made for: language models get 5, as in the original, and
    lacy's own judges the whole page; 0 gives all the whole page."""
    abstention: AbstentionRule = "lacy"
    """How texts that decline to answer are recognised (the original's default is ``none``)."""
    titles: TitleMatch = "exact"
    """How a topic finds its page."""
    date_check: DateCheck = "original"
    """What happens to facts with dates or numbers that their sentence does not have."""
    repeats: Repeats = "drop"
    """What happens to facts that a text repeats (the original keeps them)."""
    languages: Languages = "check"
    """Whether responses in other languages are judged."""
    seed: int = 0
    """Seed of the bootstrap."""


@dataclass(slots=True)
class _Prepared:
    """A response on its way: its facts, or why it has none, and its page."""

    response: TopicResponse
    state: str = "scored"
    facts: tuple[str, ...] = ()
    title: str = ""
    passages: tuple[str, ...] = ()
    why: str = ""
    nearest: tuple[str, ...] = ()


def score_responses(
    responses: Sequence[TopicResponse],
    pages: PageStore | Mapping[str, str | Sequence[str]],
    judge: Judge,
    facts: FactMaker | None = None,
    *,
    settings: FactScoreSettings | None = None,
    store: AnswerStore | None = None,
    agreement: KnownAgreement | None = None,
    progress: Progress = no_progress,
) -> FactScoreResult:
    """Score responses: which of their facts do the pages of their topics support?

    Nothing is dropped in silence: a fact without a verdict is counted with its reason, stays out of
    the mean, and moves the bounds of the score.

    Args:
        responses: texts with their topics.
        pages: by title, texts or lists of passages; or a store of pages.
        judge: decides which facts the passages support.
        facts: splits sentences into facts; None takes the facts that came with the responses.
        settings: see ``FactScoreSettings``.
        store: answers so far; what it contains is not asked again.
        agreement: the judge's agreement with people, if it was measured here; None takes that of
            judges that come with lacy. An unfit judge scores no FActScore.
        progress: called with a name, the number of finished steps, and the number of all steps.

    Raises:
        LacyError: E227, facts are to be taken from responses that have none.
    """
    settings = settings or FactScoreSettings()
    opened = MappedPages(pages) if isinstance(pages, Mapping) else pages
    with _Memory(store) as answers:
        counts: Counter[str] = Counter()
        prepared = _with_facts(responses, facts, settings, answers, counts, progress)
        _with_pages(prepared, TitledPages(opened, settings.titles), counts)
        if settings.languages == "check" and not getattr(judge, "any_language", False):
            _without_other_languages(prepared)
        wanted: int = getattr(judge, "passages", 0)
        passages = wanted if settings.passages is None else settings.passages
        together = getattr(facts, "judged_together", True)
        claims = [
            _claims(one, str(number) if together else "", passages)
            for number, one in enumerate(prepared)
        ]
        judgments = judge_claims(judge, claims, answers, progress)
    scored = [_scored(one, found) for one, found in zip(prepared, judgments, strict=True)]
    repeated = Counter(response.topic for response in responses)
    counts["responses about a topic that others are about, too"] = sum(
        number for number in repeated.values() if number > 1
    )
    return FactScoreResult(
        tuple(scored),
        gamma=settings.gamma,
        judge=judge.name,
        facts="given" if facts is None else facts.name,
        pages=opened.name,
        settings={"passages": str(passages or "all"), **settings_conditions(settings)},
        counts={name: number for name, number in sorted(counts.items()) if number},
        agreement=agreement or known_agreement(judge.name),
        seed=settings.seed,
    )


def score_labels(
    responses: Sequence[TopicResponse], *, settings: FactScoreSettings | None = None
) -> FactScoreResult:
    """Score responses by the labels that their facts came with; irrelevant facts do not count.

    Raises:
        LacyError: E227, a response that does not abstain has no facts.
    """
    settings = settings or FactScoreSettings()
    counts: Counter[str] = Counter()
    with _Memory(None) as answers:
        prepared = _with_facts(responses, None, settings, answers, counts, no_progress)
    scored = []
    for one in prepared:
        given = [fact for fact in one.response.facts or () if not fact.irrelevant]
        judgments = [
            Judgment(f.supported, None, "" if f.supported is not None else "no label")
            for f in given
        ]
        scored.append(_scored(one, judgments))
    return FactScoreResult(
        tuple(scored),
        gamma=settings.gamma,
        judge="labels of the file",
        facts="given",
        pages="-",
        settings=settings_conditions(settings),
        counts={name: number for name, number in sorted(counts.items()) if number},
        agreement=KnownAgreement("none needed: these are labels", unfit=False),
        seed=settings.seed,
    )


def settings_conditions(settings: FactScoreSettings) -> dict[str, str]:
    """Return the settings that a score depends on, for the conditions of results."""
    return {
        "gamma": f"{settings.gamma:g}",
        "abstention": settings.abstention,
        "titles": settings.titles,
        "date check": settings.date_check,
        "repeats": settings.repeats,
    }


def _with_facts(
    responses: Sequence[TopicResponse],
    maker: FactMaker | None,
    settings: FactScoreSettings,
    answers: AnswerStore,
    counts: Counter[str],
    progress: Progress,
) -> list[_Prepared]:
    """Return the responses with their facts."""
    prepared = [_Prepared(response) for response in responses]
    speaking = []
    for one in prepared:
        known = one.response.abstained
        if not one.response.text.strip() and not one.response.facts:
            one.state, one.why = "empty", "the text is empty"
        elif known or (known is None and abstains(one.response.text, settings.abstention)):
            one.state, one.why = "abstained", "the text declines to answer"
        else:
            speaking.append(one)
    if maker is None:
        without = [one for one in speaking if one.response.facts is None]
        if without:
            raise LacyError("E227", topic=without[0].response.topic, number=len(without))
        for one in speaking:
            given = one.response.facts or ()
            one.facts = tuple(fact.text for fact in given if not fact.irrelevant)
            counts["irrelevant facts, which do not count"] += sum(f.irrelevant for f in given)
    else:
        sentences = [fact_sentences(one.response.text) for one in speaking]
        flat = [sentence for each in sentences for sentence in each]
        made = iter(make_facts(maker, flat, answers, progress))
        for one, own in zip(speaking, sentences, strict=True):
            checked = checked_facts(
                own, [next(made) for _ in own],
                date_check=settings.date_check, repeats=settings.repeats,
            )  # fmt: skip
            one.facts = checked.facts
            counts.update(checked.counts)
    for one in speaking:
        if not one.facts:
            one.state, one.why = "no facts", "the text states no facts"
    return prepared


def _with_pages(prepared: Sequence[_Prepared], pages: TitledPages, counts: Counter[str]) -> None:
    for one in prepared:
        if one.state != "scored":
            continue
        one.title, one.passages = pages.find(one.response.topic)
        if not one.title:
            one.why = "no page has this title"
            one.nearest = tuple(pages.nearest(one.response.topic))
            counts["responses without a page"] += 1


def _without_other_languages(prepared: Sequence[_Prepared]) -> None:
    for one in prepared:
        language = language_of(one.response.text)
        if one.state == "scored" and language not in (None, JUDGE_LANGUAGE) and one.passages:
            one.passages = ()
            one.why = f"the text is in another language ({language})"


def _claims(one: _Prepared, response: str, passages: int) -> list[Claim]:
    """Return the claims of a response, each with the best passages of the page, or all (0)."""
    if one.state != "scored":
        return []
    topic = one.response.topic
    if not passages:
        return [Claim(fact, topic, one.passages, response) for fact in one.facts]
    ranking = PassageRanking(one.passages)
    return [
        Claim(fact, topic, ranking.best(f"{topic} {fact}", passages), response)
        for fact in one.facts
    ]


def _scored(one: _Prepared, judgments: Sequence[Judgment]) -> ScoredResponse:
    decisions = tuple(
        FactDecision(fact, found.supported, found.score, one.why or found.why)
        if found.supported is None
        else FactDecision(fact, found.supported, found.score)
        for fact, found in zip(one.facts, judgments, strict=True)
    )
    return ScoredResponse(
        one.response.topic, one.response.text, one.state, decisions, one.title, one.why, one.nearest
    )


class _Memory:
    """The caller's store of answers, or one in memory that ends with the measurement."""

    def __init__(self, store: AnswerStore | None) -> None:
        self._store = AnswerStore() if store is None else store
        self._owned = store is None

    def __enter__(self) -> AnswerStore:
        return self._store

    def __exit__(self, *_: object) -> None:
        if self._owned:
            self._store.close()
