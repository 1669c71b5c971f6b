"""An answer split into parts for display: the speaker of each, its evidence, and its verdict.

Spans (speakers) and verdicts have their own borders; a part is a stretch of text where neither
changes. Pages colour parts and need to know nothing about spans.
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

Voice = Literal["prompt", "own", "borrowed", "guess"]
"""The speaker: the prompt, the SLM, a source, or the SLM after a call that found nothing."""


@dataclass(frozen=True, slots=True)
class PassagePart:
    """A stretch of text with one speaker and one verdict."""

    text: str
    voice: Voice
    verdict: Literal["right", "wrong", ""] = ""
    notes: tuple[tuple[str, str], ...] = ()
    """What to show about it: pairs such as ``("evidence", "row 7")``; empty for plain words."""


def voice_of(span: Span) -> Voice:
    """Return the speaker of a span."""
    if span.speaker == "prompt":
        return "prompt"
    if is_borrowed(span):
        return "borrowed"
    return "guess" if span.asked else "own"


def passage_parts(answer: Answer, verdicts: Sequence[Verdict] = ()) -> list[PassagePart]:
    """Split an answer into parts whose texts add up to the answer's.

    Args:
        answer: a text with provenance.
        verdicts: judged claims of that text (see ``facts.grade``); they may not overlap.
    """
    speakers, guesses = SpanLookup(answer), guessed_ranges(answer)
    result: list[PassagePart] = []
    for start, end in _stretches(answer, speakers, guesses, verdicts):
        text, span = answer.text[start:end], speakers.at(start)
        verdict = next((v for v in verdicts if v.start <= start < v.end), None)
        guess = next((g for g in guesses if g[0] <= start < g[1]), None)
        inside = False
        if guess is not None:  # the call that found nothing explains all the words after it
            span = speakers.at(guess[0])
            inside = bool(
                answer.text[guess[0] : start].strip() and answer.text[end : guess[1]].strip()
            )
        notes = _notes(span, verdict)
        if not (text.strip() or inside) or not notes:
            result.append(PassagePart(text, "own" if voice_of(span) != "prompt" else "prompt"))
            continue
        judged: Literal["right", "wrong", ""] = ""
        if verdict is not None:
            judged = "right" if verdict.right else "wrong"
        result.append(PassagePart(text, voice_of(span), judged, notes))
    return _merged(result)


def _stretches(
    answer: Answer,
    speakers: SpanLookup,
    guesses: Sequence[tuple[int, int]],
    verdicts: Sequence[Verdict],
) -> Iterator[tuple[int, int]]:
    """Yield the stretches between the borders of spans, guesses, verdicts and white space."""
    text = answer.text
    borders = {0, len(text), *speakers.ends}
    for start, end in guesses:
        words = text[start:end]
        borders |= {start, end, end - len(words.lstrip()), start + len(words.rstrip())}
    borders |= {edge for verdict in verdicts for edge in (verdict.start, verdict.end)}
    start = 0
    for end in speakers.ends:
        words = text[start:end]
        borders |= {end - len(words.lstrip()), start + len(words.rstrip())}
        start = end
    ordered = sorted(edge for edge in borders if 0 <= edge <= len(text))
    yield from pairwise(ordered)


def _notes(span: Span, verdict: Verdict | None) -> tuple[tuple[str, str], ...]:
    voice = voice_of(span)
    lines: list[tuple[str, str]] = []
    if voice == "borrowed":
        lines.append(("said by", span.speaker))
    elif voice == "guess":
        lines.append(("said by", "the model itself: a guess, after a call that found nothing"))
    elif voice == "own" and verdict is not None:
        lines.append(("said by", "the model itself"))
    if voice in ("borrowed", "guess"):
        if span.reason:
            lines.append(("why", span.reason))
        said = "(margin" in span.reason
        if span.margin is not None and math.isfinite(span.margin) and not said:
            lines.append(("margin", f"{span.margin:+.2f}"))
        if span.evidence:
            lines.append(("evidence", span.evidence))
        if span.cost:
            lines.append(("cost", f"{span.cost:.3g}"))
    if verdict is not None and voice != "prompt":
        if verdict.right:
            lines.append(("verdict", "right"))
        elif verdict.truth is None:
            lines.append(("verdict", f"wrong: no {_plain(verdict.relation)} is known"))
        else:
            lines.append(("verdict", f"wrong: {_plain(verdict.relation)} is {verdict.truth}"))
    return tuple(lines)


def _plain(relation: str) -> str:
    return relation.replace("_", " ")


def _merged(found: Sequence[PassagePart]) -> list[PassagePart]:
    """Join neighbours that look the same, so that plain words are one part."""
    result = []
    for (voice, verdict, notes), group in groupby(found, lambda p: (p.voice, p.verdict, p.notes)):
        result.append(PassagePart("".join(part.text for part in group), voice, verdict, notes))
    return result
