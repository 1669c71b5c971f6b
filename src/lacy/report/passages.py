"""Split an answer into parts for display, each with its speaker, evidence and verdict.

Spans and verdicts have different borders. A part is a piece of text within which neither speaker
nor verdict changes, so a page can colour each part as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from lacy.cascade import guessed_ranges
from lacy.evaluate import SpanLookup, Verdict, is_borrowed
from lacy.types import Answer, Span

SpeakerKind = Literal["prompt", "own", "borrowed", "guess"]
"""The prompt, the SLM (own), a source (borrowed), or the SLM after an unanswered call (guess)."""


@dataclass(frozen=True, slots=True)
class PassagePart:
    """A piece of text with one speaker and one verdict."""

    text: str
    speaker: SpeakerKind
    verdict: Literal["right", "wrong", ""] = ""
    notes: tuple[tuple[str, str], ...] = ()
    """Details for the tooltip, such as ``("evidence", "row 7")``; empty for plain words."""


def speaker_kind(span: Span) -> SpeakerKind:
    """Return what kind of speaker a span has."""
    if span.speaker == "prompt":
        return "prompt"
    if is_borrowed(span):
        return "borrowed"
    return "guess" if span.asked else "own"


def passage_parts(answer: Answer, verdicts: Sequence[Verdict] = ()) -> list[PassagePart]:
    """Split an answer into parts; their texts together are the whole text of the answer.

    Args:
        answer: a text with provenance.
        verdicts: judged claims of that text (see ``facts.grade``); they may not overlap.
    """
    spans, guesses = SpanLookup(answer), guessed_ranges(answer)
    result: list[PassagePart] = []
    for start, end in _ranges(answer, spans, guesses, verdicts):
        text, span = answer.text[start:end], spans.at(start)
        verdict = next((v for v in verdicts if v.start <= start < v.end), None)
        guess = next((g for g in guesses if g[0] <= start < g[1]), None)
        in_guess = False
        if guess is not None:  # its words have the notes of the call that found nothing
            span = spans.at(guess[0])
            in_guess = bool(
                answer.text[guess[0] : start].strip() and answer.text[end : guess[1]].strip()
            )
        notes = _notes(span, verdict)
        if not (text.strip() or in_guess) or not notes:
            result.append(PassagePart(text, "own" if speaker_kind(span) != "prompt" else "prompt"))
            continue
        judgement: Literal["right", "wrong", ""] = ""
        if verdict is not None:
            judgement = "right" if verdict.right else "wrong"
        result.append(PassagePart(text, speaker_kind(span), judgement, notes))
    return _merged(result)


def _ranges(
    answer: Answer,
    spans: SpanLookup,
    guesses: Sequence[tuple[int, int]],
    verdicts: Sequence[Verdict],
) -> Iterator[tuple[int, int]]:
    """Yield the ranges between the borders of spans, guesses, verdicts and outer white space."""
    text = answer.text
    borders = {0, len(text)} | {border for v in verdicts for border in (v.start, v.end)}
    for start, end in (*guesses, *pairwise([0, *spans.ends])):
        part = text[start:end]
        borders |= {start, end, end - len(part.lstrip()), start + len(part.rstrip())}
    yield from pairwise(sorted(border for border in borders if 0 <= border <= len(text)))


def _notes(span: Span, verdict: Verdict | None) -> tuple[tuple[str, str], ...]:
    """Return the details for the tooltip of a part."""
    speaker = speaker_kind(span)
    lines: list[tuple[str, str]] = []
    if speaker == "borrowed":
        lines.append(("speaker", span.speaker))
    elif speaker == "guess":
        lines.append(("speaker", "the model itself: a guess after a call that found nothing"))
    elif speaker == "own" and verdict is not None:
        lines.append(("speaker", "the model itself"))
    if speaker in ("borrowed", "guess"):
        margin = span.margin
        shown = margin is not None and math.isfinite(margin) and "(margin" not in span.reason
        lines += [
            (name, text)
            for name, text in (
                ("why", span.reason),
                ("margin", f"{margin:+.2f}" if shown else ""),
                ("evidence", span.evidence),
                ("cost", f"{span.cost:.3g}" if span.cost else ""),
            )
            if text
        ]
    if verdict is not None and speaker != "prompt":
        relation = verdict.relation.replace("_", " ")
        known = (
            f"no {relation} is known" if verdict.truth is None else f"{relation} is {verdict.truth}"
        )
        lines.append(("verdict", "right" if verdict.right else f"wrong: {known}"))
    return tuple(lines)


def _merged(parts: Sequence[PassagePart]) -> list[PassagePart]:
    """Join neighbouring parts that look the same, so that plain words are one part."""
    result = []
    for (speaker, verdict, notes), group in groupby(
        parts, lambda p: (p.speaker, p.verdict, p.notes)
    ):
        result.append(PassagePart("".join(part.text for part in group), speaker, verdict, notes))
    return result
