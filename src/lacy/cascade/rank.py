"""Which candidate fits here: the SLM ranks what a source offers by its own likelihood.

The SLM does not know the fact, but it knows what *kind* of value the sentence asks for. For a
candidate v whose kind takes A values (effectively, 2^entropy),

    score(v) = log p(v | text, no CALL) + log A,

which estimates the log-probability that a value of this kind stands here: a birth date, one of
thousands, is not beaten by a country, one of ten, only because each single date is unlikely. Below
``log 0.05`` nothing that the source knows seems to be asked for, and the SLM goes on alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lacy.model.decode import Decoder
from lacy.sources.text import TokenText
from lacy.types import Candidate

DEFAULT_ABSTAIN = math.log(0.05)
"""Best score below which no candidate is taken: a kind that fits with less than one in twenty."""


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
        tokens = tuple(token_text.encode_continuation(before + candidate.text))
        if tokens and len(tokens) - back <= room:
            found.append(Option(candidate, tokens, back))
    return found


def rank(
    decoder: Decoder,
    rows: Sequence[int],
    options: Sequence[Sequence[Option]],
) -> list[list[float]]:
    """Scores of the options of each row, as in the module's docstring (nats)."""
    scores: list[list[float]] = [[0.0] * len(group) for group in options]
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
            )
            base = [group[0] for group in found]
            found = [group[1:] for group in found]
        else:
            found = decoder.score(asked, unique)
        for n, tokens, logp, known in zip(places, unique, found, base, strict=True):
            by_tokens = dict(zip(tokens, logp, strict=True))
            scores[n] = [
                by_tokens[o.tokens] - known + math.log(max(o.candidate.alternatives, 1.0))
                for o in options[n]
            ]
    return scores


def best(scores: Sequence[float], abstain: float | None) -> int | None:
    """The place of the highest score (the first of equals), None to abstain.

    Args:
        scores: of at least one candidate.
        abstain: the score that the best must reach; None accepts any.
    """
    place = max(range(len(scores)), key=lambda n: (_sound(scores[n]), -n))
    if abstain is not None and not _sound(scores[place]) >= abstain:
        return None
    return place


def _sound(score: float) -> float:
    return score if score == score else -math.inf
