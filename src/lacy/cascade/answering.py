"""Answer a question from a source: choose the value, and the words that lead to it.

If a chat's question asks for a fact, the source is asked before the first word of the answer. It
returns all that it knows about the subject. With a database, the SLM chooses the relation that the
question asks for (``relations``); with documents, the value that the passages give
(``passage_answers``). The answer then begins with a statement made from the question ("Marie Curie
was born"), the likeliest of a few small words ("on", "in", "a"), and the value. The model continues
from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lacy.cascade.backend import Backend
from lacy.cascade.biography import definition_in
from lacy.cascade.call import call_outcomes, missing_in, unanswered
from lacy.cascade.passage_answers import MIN_READING_SCORE, choose_by_reading, firsts_by_passage
from lacy.cascade.questions import Question
from lacy.cascade.rank import tokenize_candidates
from lacy.cascade.relations import (
    MIN_RELATION_SCORE,
    KnownLogps,
    asks_for,
    names_whole,
    relation_scores,
    shared_words,
)
from lacy.cascade.sequence import CallOutcome, TextSequence, TokenizedCandidate
from lacy.sources import continuation
from lacy.types import Candidate, Reply, Span

MAX_RELATIONS = 40
"""Maximum number of relations that are compared; those of the subject come first."""

MARGIN = 1.0
"""A relation that the subject does not have must beat those that it has by this score, unless the
question names one that it has."""

MAX_LISTED = 5
"""Maximum number of values of one relation that an answer lists."""


@dataclass(frozen=True, slots=True)
class ChosenAnswer:
    """The values that answer a question, or the reason why there is none."""

    values: tuple[Candidate, ...] = ()
    why: str = ""
    score: float | None = None
    limit: float = MIN_RELATION_SCORE
    """The minimum score."""
    unknown: str = ""
    """The relation that the question asks for, if the subject lacks it."""
    opening: str = ""
    """The beginning of the statement in the source's own words; "" to make it from the question."""


async def outcomes_of(
    backend: Backend,
    sequences: Sequence[TextSequence],
    replies: Sequence[Reply],
    spans: Sequence[Span],
) -> list[CallOutcome]:
    """Decide how calls end: calls for a question by the question, others by the text so far."""
    asking = [n for n, sequence in enumerate(sequences) if sequence.asks]
    others = [n for n in range(len(sequences)) if n not in asking]
    found: dict[int, CallOutcome] = {}
    if others:
        outcomes = await call_outcomes(
            backend,
            [sequences[n] for n in others],
            [replies[n] for n in others],
            [spans[n] for n in others],
        )
        found = dict(zip(others, outcomes, strict=True))
    for n in asking:
        reply, span = replies[n], spans[n]
        span = replace(span, cost=reply.cost, seconds=reply.seconds, fault=reply.fault)
        outcome = await _answer(backend, sequences[n], reply, span)
        if outcome.option is None and (unknown := sequences[n].engine.unknown):
            said = _tokenized(sequences[n], continuation(sequences[n].text, unknown))
            outcome = replace(outcome, closing=said)
        found[n] = outcome
    return [found[n] for n in range(len(sequences))]


async def _answer(
    backend: Backend, sequence: TextSequence, reply: Reply, span: Span
) -> CallOutcome:
    """Return the outcome of a question's call."""
    engine, question = sequence.engine, sequence.question
    assert question is not None
    if reply.error or not reply.candidates:
        return unanswered(span, reply.error or "source had no answer", missing_in(reply))
    choice = await choose_answer(backend, question, reply, engine.known_logps)
    if not choice.values:
        subject = reply.candidates[0].subject
        span = replace(span, relation=choice.unknown, subject=subject, score=choice.score)
        return unanswered(span, choice.why, "not found" if choice.unknown else "none fits")
    listed = list({value.text.strip(): value for value in choice.values}.values())[:MAX_LISTED]
    value = _joined(listed)
    opening = choice.opening or question.opening(value.subject)
    if reply.ranked and not choice.opening:
        opening = await _with_small_words(backend, sequence, opening, value.text.strip())
    outcome = _outcome(sequence, reply, span, opening, value, choice, backend.context)
    while outcome.option is None and len(listed) > 1:  # as many of several values as fit
        del listed[-1]
        outcome = _outcome(sequence, reply, span, opening, _joined(listed), choice, backend.context)
    return outcome


async def choose_answer(
    backend: Backend,
    question: Question,
    reply: Reply,
    known: KnownLogps | None = None,
) -> ChosenAnswer:
    """Choose the values of a reply that answer a question.

    Args:
        backend: computes with the SLM.
        question: the question.
        reply: the source's reply.
        known: log-likelihoods cached from earlier questions.
    """
    candidates = reply.candidates
    if not reply.ranked:
        return ChosenAnswer(candidates[:1], "the source answered")
    subject = candidates[0].subject
    if question.is_open(subject):
        return ChosenAnswer(why="the question asks for no particular fact")
    if any(candidate.context for candidate in candidates):
        if defined := _definition(question.about(subject), candidates):
            return defined
        value, score, why = await choose_by_reading(backend, question, candidates)
        return ChosenAnswer((value,) if value else (), why, score, MIN_READING_SCORE)
    by_relation: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:  # of several spellings of a value, the first is its usual one
        by_relation.setdefault(candidate.kind, {}).setdefault(candidate.evidence, candidate)
    question = question.about(subject)
    spoken = subject if subject.casefold() in question.text.casefold() else question.name
    values = {name: [c.text.strip() for c in found.values()] for name, found in by_relation.items()}
    others = [name for name in reply.relations if name not in values]
    others.sort(key=lambda name: -shared_words(question, name))
    values |= {name: [] for name in others[: MAX_RELATIONS - len(values)]}
    scores = await relation_scores(
        backend, question, spoken or subject, values,
        {} if known is None else known,
    )  # fmt: skip
    if not scores:
        return ChosenAnswer(why=f"none of {len(by_relation)} relations fits the question")
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < MIN_RELATION_SCORE:
        why = f"no relation fits the question (best: {best}, score {scores[best]:.1f}"
        return ChosenAnswer(why=f"{why} < {MIN_RELATION_SCORE:.1f})", score=scores[best])
    known_best = max(by_relation, key=lambda name: scores.get(name, -math.inf))
    score = scores.get(known_best, -math.inf)
    about = spoken or subject
    named = score >= MIN_RELATION_SCORE and asks_for(question, about, known_best)
    # "What is the highest office ...?" does not ask for "took highest office in".
    other = names_whole(question, about, best) and not names_whole(question, about, known_best)
    if not other and (named or scores[best] - score < MARGIN):
        best = known_best
    if best not in by_relation:
        why = f"it asks for “{best}”, which is not known"
        return ChosenAnswer(why=why, score=scores[best], unknown=best)
    listed = tuple(by_relation[best].values())
    return ChosenAnswer(listed, f"it asks for “{best}” (score {scores[best]:.1f})", scores[best])


def _definition(question: Question, candidates: Sequence[Candidate]) -> ChosenAnswer | None:
    """Return what a passage says that the subject is, if the question asks for it."""
    if not question.asks_occupation:
        return None
    found = [
        (definition, candidate)
        for candidate in firsts_by_passage(candidates)
        if (definition := definition_in(candidate.context, candidate.subject))
    ]
    if not found:
        return None
    definition, candidate = max(found, key=lambda pair: pair[0].directness)
    said = f"{definition.verb} {definition.article}"
    where = candidate.evidence.partition(", characters ")[0]
    evidence = f"{where}: {said} {definition.words}"
    value = replace(candidate, text=f" {definition.words}", evidence=evidence)
    why = "it asks what the subject is, and the passage says it"
    return ChosenAnswer((value,), why, opening=f"{candidate.subject} {said}")


def _joined(values: Sequence[Candidate]) -> Candidate:
    """Return several values as one list: "A, B and C"."""
    texts = [value.text.strip() for value in values]
    text = " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
    return replace(values[0], text=text, evidence="; ".join(value.evidence for value in values))


async def _with_small_words(
    backend: Backend, sequence: TextSequence, opening: str, value: str
) -> str:
    """Return the opening followed by the likeliest small words before the value."""
    assert sequence.question is not None
    words = sequence.question.small_words(opening, value)
    openings = [" ".join(filter(None, (opening, word))) for word in words]
    encode = sequence.engine.token_text.encode_continuation
    forms = [encode(continuation(sequence.text, o + continuation(o, value))) for o in openings]
    if len(forms) == 1 or max(map(len, forms)) > backend.context - len(sequence.ids) - 1:
        return openings[0]
    [scores] = await backend.score([sequence], [forms], None)
    return openings[max(range(len(forms)), key=lambda n: scores[n])]


def _outcome(
    sequence: TextSequence,
    reply: Reply,
    span: Span,
    opening: str,
    value: Candidate,
    choice: ChosenAnswer,
    context: int,
) -> CallOutcome:
    """Return the outcome that appends an opening and a value, if they fit."""
    engine, question, text = sequence.engine, sequence.question, sequence.text
    assert question is not None
    before = _tokenized(sequence, continuation(text, opening)) if opening else None
    text += before.candidate.text if before else ""
    value = replace(value, text=continuation(text, value.text))
    after = None
    if reply.ranked and question.is_single and not engine.min_new_tokens:
        closing = question.closing()
        stop = "" if (closing or value.text).endswith((".", "!", "?")) else "."
        after = _tokenized(sequence, (closing and f" {closing}") + stop)
    room = min(context - len(sequence.ids), sequence.limit)
    room -= sum(len(part.tokens) for part in (before, after) if part)
    options = tokenize_candidates([value], engine.token_text, room)
    if not options:
        return unanswered(span, "no room for the answer", "no room", stop=True)
    assert engine.source is not None  # it replied
    span = replace(
        span,
        text=value.text,
        speaker=reply.speaker or engine.source.name,
        reason=f"{span.reason}; {choice.why}",
        evidence=value.evidence,
        relation=value.kind,
        subject=value.subject,
        score=choice.score,
    )
    scores = None if choice.score is None else (choice.score,)
    return CallOutcome(
        options[0], span, offered=tuple(options), opening=before, closing=after, scores=scores,
        limit=None if choice.score is None else choice.limit,
    )  # fmt: skip


def _tokenized(sequence: TextSequence, text: str) -> TokenizedCandidate:
    tokens = sequence.engine.token_text.encode_continuation(text)
    return TokenizedCandidate(Candidate(text), tuple(tokens))
