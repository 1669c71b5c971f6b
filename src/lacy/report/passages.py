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

SpeakerKind = Literal["prompt", "own", "borrowed", "guess"]
"""The speaker: the prompt, the SLM, a source, or the SLM after a call that found nothing."""


@dataclass(frozen=True, slots=True)
class PassagePart:
    """A stretch of text with one speaker and one verdict."""

    text: str
    speaker: SpeakerKind
    verdict: Literal["right", "wrong", ""] = ""
    notes: tuple[tuple[str, str], ...] = ()
    """What to show about it: pairs such as ``("evidence", "row 7")``; empty for plain words."""


def speaker_kind(span: Span) -> SpeakerKind:
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
            result.append(PassagePart(text, "own" if speaker_kind(span) != "prompt" else "prompt"))
            continue
        judged: Literal["right", "wrong", ""] = ""
        if verdict is not None:
            judged = "right" if verdict.right else "wrong"
        result.append(PassagePart(text, speaker_kind(span), judged, notes))
    return _merged(result)


def _stretches(
    answer: Answer,
    speakers: SpanLookup,
    guesses: Sequence[tuple[int, int]],
    verdicts: Sequence[Verdict],
) -> Iterator[tuple[int, int]]:
    """Yield the stretches between the borders of spans, guesses, verdicts and white space."""
    text = answer.text
    borders = {0, len(text)} | {edge for v in verdicts for edge in (v.start, v.end)}
    for start, end in (*guesses, *pairwise([0, *speakers.ends])):
        words = text[start:end]
        borders |= {start, end, end - len(words.lstrip()), start + len(words.rstrip())}
    yield from pairwise(sorted(edge for edge in borders if 0 <= edge <= len(text)))


def _notes(span: Span, verdict: Verdict | None) -> tuple[tuple[str, str], ...]:
    speaker = speaker_kind(span)
    lines: list[tuple[str, str]] = []
    if speaker == "borrowed":
        lines.append(("speaker", span.speaker))
    elif speaker == "guess":
        lines.append(("speaker", "the model itself: a guess, after a call that found nothing"))
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


def _merged(found: Sequence[PassagePart]) -> list[PassagePart]:
    """Join neighbours that look the same, so that plain words are one part."""
    result = []
    for (speaker, verdict, notes), group in groupby(
        found, lambda p: (p.speaker, p.verdict, p.notes)
    ):
        result.append(PassagePart("".join(part.text for part in group), speaker, verdict, notes))
    return result
