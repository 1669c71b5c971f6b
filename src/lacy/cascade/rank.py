"""Which candidate fits here: the SLM ranks what a source offers by its own likelihood.

The SLM does not know the fact, but it knows what *kind* of value the sentence asks for. For a
candidate v of kind k,

    score(v) = log p(v, and its end | text, no CALL) - log p(v, and its end | k is due),

which estimates the log-probability that kind k is due: a birth date, one of thousands, is not
beaten by a country, one of ten, only because each single date is unlikely. The second term is
measured in reference texts (``calibrate``, ``usual``); without them it is taken as -log A, the
kind's A values (effectively, 2^entropy in the source) being equally likely, which is too much for
kinds whose values go far beyond the source (names). Where the best score is lower than a right
value's usually is (uncalibrated: below ``log 0.05``), nothing that the source knows is asked for,
and the SLM goes on alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lacy.cascade.calibration import KindFit
from lacy.cascade.usual import Key, Usual
from lacy.corpus import TokenText
from lacy.model import Decoder
from lacy.types import Candidate

DEFAULT_ABSTAIN = math.log(0.05)
"""Best score below which no candidate is taken: a kind that fits with less than one in twenty."""

CALIBRATED_ABSTAIN = math.log(0.01)
"""The same for calibrated kinds, whose scores are sharper."""

CHARACTERS = 200
"""Characters that no token exceeds: a text that is longer than its room allows is not even read."""

SLACK = 1.0
"""Nats below a calibrated kind's usual low that count as a fit even so."""


Abstain = float | None | Literal["usual"]
"""The score that a candidate must reach to be taken: a number (of calibrated kinds the looser of
``CALIBRATED_ABSTAIN`` and what nearly all right values of the kind reach); ``"usual"``: what right
values usually reach, so that where a source has gaps no other value takes the place of the missing
one, and the model says more in its own words; None: none."""


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate as tokens that continue one row.

    ``back`` of the row's last tokens are replaced by ``tokens`` (token healing; else 0).
    """

    candidate: Candidate
    tokens: tuple[int, ...]
    back: int = 0


def options_for(
    candidates: Sequence[Candidate],
    token_text: TokenText,
    ids: Sequence[int],
    room: int,
    *,
    heal: bool = False,
) -> list[Option]:
    """Candidates as token lists, without those that have no tokens or do not fit into ``room``.

    Args:
        candidates: what a source offers.
        token_text: the SLM's tokens.
        ids: the row's tokens so far.
        room: tokens that still fit.
        heal: encode the row's last token anew together with the candidate, so that a seam does not
            force an unusual tokenization ("in ", "Paris" for "in", " Paris").
    """
    back, before = 0, ""
    if heal and len(ids) > 2:
        last = token_text.bytes_of(ids[-1])
        whole = last.decode("utf-8", errors="ignore")
        if last and whole.encode() == last:
            back, before = 1, whole
    found = []
    for candidate in candidates:
        if len(candidate.text) > CHARACTERS * (room + 1):
            continue
        tokens = tuple(token_text.encode_continuation(before + candidate.text))
        if tokens and len(tokens) - back <= room:
            found.append(Option(candidate, tokens, back))
    return found


def rank(
    decoder: Decoder,
    rows: Sequence[int],
    options: Sequence[Sequence[Option]],
    usual: Usual | None = None,
) -> list[list[float]]:
    """Scores of the options of each row, as in the module's docstring (nats)."""
    scores: list[list[float]] = [[0.0] * len(group) for group in options]
    candidates = [option.candidate for group in options for option in group]
    due = usual.look_up(map(key_of, candidates)) if usual else {}
    for back in (0, 1):
        places = [n for n, group in enumerate(options) if group and group[0].back == back]
        if not places:
            continue
        # Candidates that share their tokens are scored once.
        unique = [list(dict.fromkeys(option.tokens for option in options[n])) for n in places]
        asked = [rows[n] for n in places]
        base = [0.0] * len(places)
        if back:
            lasts = [(decoder.tokens_BT[row][-1],) for row in asked]
            found = decoder.score(
                asked,
                [[last, *group] for last, group in zip(lasts, unique, strict=True)],
                back=back,
                whole=True,
                ends=usual.ends if usual else None,
            )
            base = [group[0] for group in found]
            found = [group[1:] for group in found]
        else:
            found = decoder.score(asked, unique, whole=True, ends=usual.ends if usual else None)
        for n, tokens, logp, known in zip(places, unique, found, base, strict=True):
            by_tokens = dict(zip(tokens, logp, strict=True))
            scores[n] = [
                by_tokens[o.tokens] - known - when_due(o.candidate, due) for o in options[n]
            ]
    return scores


def key_of(candidate: Candidate) -> Key:
    """What a candidate's usual likelihood is known by."""
    return Key(candidate.subject, candidate.kind, candidate.text.strip())


def when_due(candidate: Candidate, due: Mapping[Key, float]) -> float:
    """Log-likelihood of a candidate where its kind is due."""
    found = due.get(key_of(candidate))
    return -math.log(max(candidate.alternatives, 1.0)) if found is None else found


def least(
    candidate: Candidate, abstain: Abstain, kinds: Mapping[str, KindFit] | None = None
) -> float:
    """The score that a candidate must reach to be taken; -inf if there is no limit."""
    if abstain is None:
        return -math.inf
    fit = kinds.get(candidate.kind) if kinds else None
    if abstain == "usual":
        return max(CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else DEFAULT_ABSTAIN
    return min(abstain, CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else abstain


def best(scores: Sequence[float]) -> int:
    """The place of the highest score (the first of equals, NaN last) of at least one."""
    return max(range(len(scores)), key=lambda n: (sound(scores[n]), -n))


def sound(score: float) -> float:
    """The score; -inf for NaN."""
    return score if score == score else -math.inf
