"""Which candidate fits here: the SLM ranks what a source offers by its own likelihood.

The SLM does not know the fact, but it knows what *kind* of value the sentence asks for. For a
candidate v of kind k,

    score(v) = log p(v, and its end | text, no CALL) - log p(v, and its end | k is due),

which estimates the log-probability that kind k is due: a birth date, one of thousands, does not
lose to a country, one of ten, only because each single date is unlikely. The second term is the
reference log-likelihood (``calibration``, ``reference``). Without it, it is taken as -log A, as if
the kind's A values (effectively, 2^entropy in the source) were equally likely, which is too much
for kinds with many values outside the source (names). If the best score is lower than that of
nearly all right values (uncalibrated: below ``log 0.05``), no candidate is used and the SLM
continues alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lacy.cascade.backend import Backend
from lacy.cascade.calibration import KindFit
from lacy.cascade.policy import nan_as_lowest
from lacy.cascade.reference import ReferenceLikelihoods, ValueKey
from lacy.cascade.sequence import TextSequence, TokenizedCandidate
from lacy.cascade.settings import DEFAULT_ABSTAIN, Abstain
from lacy.corpus import TokenText
from lacy.types import Candidate

CALIBRATED_ABSTAIN = math.log(0.01)
"""The same for calibrated kinds, whose scores are more accurate."""

MAX_TOKEN_CHARACTERS = 200
"""No token is longer than this, so a longer text than fits is rejected before it is tokenized."""

SLACK = 1.0
"""Nats by which a score may be below the low quantile of a calibrated kind."""


def tokenize_candidates(
    candidates: Sequence[Candidate], token_text: TokenText, room: int
) -> list[TokenizedCandidate]:
    """Tokenize candidates, without those that have no tokens or more than ``room``."""
    found = []
    for candidate in candidates:
        if len(candidate.text) > MAX_TOKEN_CHARACTERS * (room + 1):
            continue
        tokens = tuple(token_text.encode_continuation(candidate.text))
        if tokens and len(tokens) <= room:
            found.append(TokenizedCandidate(candidate, tokens))
    return found


async def rank(
    backend: Backend,
    sequences: Sequence[TextSequence],
    options: Sequence[Sequence[TokenizedCandidate]],
    reference: ReferenceLikelihoods | None = None,
) -> list[list[float]]:
    """Return the scores of each sequence's options, as the module's docstring defines (nats)."""
    if not sequences:
        return []
    candidates = [option.candidate for group in options for option in group]
    due = reference.look_up(map(value_key, candidates)) if reference else {}
    ends = reference.ends if reference else None
    # Candidates that share their tokens are scored once.
    unique = [list(dict.fromkeys(option.tokens for option in group)) for group in options]
    found = await backend.score(sequences, unique, ends)
    scores = []
    for group, tokens, logp in zip(options, unique, found, strict=True):
        by_tokens = dict(zip(tokens, logp, strict=True))
        scores.append([by_tokens[o.tokens] - reference_score(o.candidate, due) for o in group])
    return scores


def value_key(candidate: Candidate) -> ValueKey:
    """Return the key of a candidate's reference log-likelihood."""
    return ValueKey(candidate.subject, candidate.kind, candidate.text.strip())


def reference_score(candidate: Candidate, due: Mapping[ValueKey, float]) -> float:
    """Return the log-likelihood of a candidate where its kind is due."""
    found = due.get(value_key(candidate))
    return -math.log(max(candidate.alternatives, 1.0)) if found is None else found


def min_score(
    candidate: Candidate, abstain: Abstain, kinds: Mapping[str, KindFit] | None = None
) -> float:
    """Return the score that a candidate must reach to be used; -inf if there is no limit."""
    if abstain is None:
        return -math.inf
    fit = kinds.get(candidate.kind) if kinds else None
    if abstain == "reference":
        return max(CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else DEFAULT_ABSTAIN
    return min(abstain, CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else abstain


def best_index(scores: Sequence[float]) -> int:
    """Return the place of the highest of at least one score (the first of equals, NaN last)."""
    return max(range(len(scores)), key=lambda n: (nan_as_lowest(scores[n]), -n))
