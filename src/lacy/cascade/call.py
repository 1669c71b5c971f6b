"""Decide how a call ends: which candidate of a reply is appended, or why none is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lacy.cascade.backend import Backend
from lacy.cascade.policy import nan_as_lowest
from lacy.cascade.pruning import best_index
from lacy.cascade.rank import min_score, rank, rank_by_reading, tokenize_candidates
from lacy.cascade.reader import sentences_of
from lacy.cascade.sequence import CallOutcome, TextSequence, TokenizedCandidate
from lacy.cascade.settings import EngineSettings
from lacy.cascade.whole_values import fitting_candidates, new_candidates
from lacy.corpus import TokenText
from lacy.types import Missing, Reply, Request, Span, Unit

NO_SOURCE = "no source is connected"
"""The error of a reply if the engine has no source."""

STATED = "the text already states"
"""How the error of a reply begins if all of its values are in the text."""

NOT_WHOLE = "no value completes the word or number in the text"
"""The error of a reply if all of its values would break up a number or word."""


def request_of(sequence: TextSequence) -> Request:
    """Return the request to the source for a sequence."""
    engine = sequence.engine
    tokens = engine.token_text.name if engine.unit == "token" else ""
    text, question = sequence.text, sequence.question
    if question is not None:  # without the chat template's control tokens and system prompt
        own = question.opening() if sequence.asks else text[sequence.prompt_length :]
        text = "\n\n".join(filter(None, (question.shown, own)))
    asked = question.text if question is not None and sequence.asks else ""
    return Request(text, engine.unit, sequence.subject, sequence.stream, tokens, asked)


async def call_outcomes(
    backend: Backend,
    sequences: Sequence[TextSequence],
    replies: Sequence[Reply],
    spans: Sequence[Span],
) -> list[CallOutcome]:
    """Rank the candidates of all replies together and decide how each call ends.

    Args:
        backend: scores the candidates.
        sequences: the sequences that called, all of the same model and source.
        replies: the source's reply to each sequence.
        spans: a span for each call, with its reason and margin.
    """
    engine = sequences[0].engine
    said = [
        sentences_of(r.candidates, engine.token_text, engine.read) if engine.reader else ""
        for r in replies
    ]
    replies = [_new_and_whole(s, r) for s, r in zip(sequences, replies, strict=True)]
    groups = [
        tokenize_candidates(reply.candidates, engine.token_text, backend.context - len(s.ids))
        for s, reply in zip(sequences, replies, strict=True)
    ]
    ranked = [n for n, r in enumerate(replies) if groups[n] and (r.ranked or len(groups[n]) > 1)]
    unread = [n for n in ranked if not said[n]]
    options = [groups[n] for n in unread]
    limits = None  # an observer shows all scores
    if engine.observer is None:
        limits = [
            [min_score(o.candidate, engine.abstain, engine.kinds) for o in g] for g in options
        ]
    scores = await rank(backend, [sequences[n] for n in unread], options, engine.reference, limits)
    scores_of: dict[int, Sequence[float | None]] = dict(zip(unread, scores, strict=True))
    for n in ranked:
        if said[n]:
            scores_of[n] = rank_by_reading(sequences[n], said[n], groups[n])
    outcomes = []
    for n, (sequence, reply, span) in enumerate(zip(sequences, replies, spans, strict=True)):
        span = replace(span, cost=reply.cost, seconds=reply.seconds, fault=reply.fault)
        scored = scores_of.get(n)
        outcome = _outcome(sequence, reply, groups[n], scored, span, read=bool(said[n]))
        score_tuple = None if scored is None else tuple(scored)
        offered = tuple(groups[n])
        outcomes.append(replace(outcome, offered=offered, scores=score_tuple, sentences=said[n]))
    return outcomes


def _new_and_whole(sequence: TextSequence, reply: Reply) -> Reply:
    """Remove candidates that the text already states, or that would break up a number."""
    engine, candidates = sequence.engine, reply.candidates
    if not candidates or engine.unit != "value":
        return reply
    if reply.ranked and not engine.restate:
        candidates = new_candidates(sequence.text[sequence.stated_from :], candidates)
        if not candidates:
            why = f"{STATED} {_all_of(len(reply.candidates))}"
            return replace(reply, candidates=(), error=why)
    # A server that stopped at <CALL> has not reported the SLM's own token.
    if engine.hosted is None or sequence.next_token not in (-1, engine.call_id):
        own = engine.token_text.bytes_of(sequence.next_token)
        candidates = fitting_candidates(sequence.text, own, candidates)
    if not candidates:
        return replace(reply, candidates=(), error=NOT_WHOLE)
    return replace(reply, candidates=candidates)


def _all_of(count: int) -> str:
    return f"all {count} values" if count > 1 else "its one value"


def _outcome(
    sequence: TextSequence,
    reply: Reply,
    options: list[TokenizedCandidate],
    scores: Sequence[float | None] | None,
    span: Span,
    *,
    read: bool,
) -> CallOutcome:
    """Decide how one call ends.

    Args:
        sequence: the sequence that called.
        reply: the source's reply.
        options: the candidates that fit into the context.
        scores: their scores if they were ranked.
        span: the span of the call so far.
        read: True if the scores are log-probabilities after reading.
    """
    if reply.error or not reply.candidates:
        return unanswered(span, reply.error or "source had no answer", missing_in(reply))
    if not options:
        return unanswered(span, "no room for the answer in the context", "no room", stop=True)
    engine, best, note, limit = sequence.engine, 0, "", None
    if scores is not None:
        best = best_index(scores)
        limit = _limit(engine, options[best], read=read)
        score = scores[best]
        fact = options[best].candidate
        span = replace(span, relation=fact.kind, subject=fact.subject, score=score)
        if score is None or nan_as_lowest(score) < limit:
            return replace(unanswered(span, _none_fits(len(scores)), "none fits"), limit=limit)
        note = f"; {_fits_best(len(scores))} (score {score:.1f})"
    option = options[best]
    if scores is not None and engine.unit != "value":
        option = _cut(option, engine.unit, engine.token_text)
    if sequence.generated + len(option.tokens) > sequence.limit:
        # Do not cut the value: half of it would be a wrong fact.
        left_out = unanswered(span, "no room for the answer", "no room", stop=True)
        return replace(left_out, limit=limit)
    assert engine.source is not None  # it replied
    span = replace(
        span,
        text=option.candidate.text,
        speaker=reply.speaker or engine.source.name,
        reason=span.reason + note,
        evidence=option.candidate.evidence,
        relation=option.candidate.kind,
        subject=option.candidate.subject,
    )
    return CallOutcome(option, span, limit=limit)


def _limit(engine: EngineSettings, option: TokenizedCandidate, *, read: bool) -> float:
    """Return the minimum score for an option to be used."""
    choice = engine.choice if read else None
    return min_score(option.candidate, engine.abstain, engine.kinds, choice)


def _cut(option: TokenizedCandidate, unit: Unit, token_text: TokenText) -> TokenizedCandidate:
    """Return the first token or word of a ranked value.

    Replies that already have the right unit (from sources that answer token by token) are not
    ranked, so they do not get here.
    """
    text = option.candidate.text
    if unit == "token":
        stream, first = token_text.stream(), ""
        for token in token_text.encode_continuation(text):
            first += stream.add(token)
            if first and stream.whole:
                break
    else:
        words = text.split(maxsplit=1)
        first = text[: text.index(words[0])] + words[0] if words else text
    candidates = [replace(option.candidate, text=first)]
    cut = tokenize_candidates(candidates, token_text, len(option.tokens))
    return cut[0] if cut else option


def _fits_best(count: int) -> str:
    """Return the reason why the best value was taken."""
    return f"of {count} values this one fits best" if count > 1 else "its one value fits"


def _none_fits(count: int) -> str:
    """Return the reason why no value was taken."""
    return f"none of {count} values fits" if count > 1 else "its one value does not fit"


def missing_in(reply: Reply) -> Missing:
    """Return why a reply has no value, as one of a few words."""
    error = reply.error or ""
    if reply.fault:
        return "failed"
    if error == NO_SOURCE:
        return "no source"
    if error == NOT_WHOLE:
        return "none fits"
    return "stated" if error.startswith(STATED) else "not found"


def unanswered(span: Span, why: str, missing: Missing, *, stop: bool = False) -> CallOutcome:
    """Return the outcome of a call without an answer."""
    reason = f"{span.reason}; {why}" if span.reason else why
    return CallOutcome(None, replace(span, reason=reason, missing=missing), stop)
