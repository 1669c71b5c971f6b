"""Rank the candidates of a source by the SLM's likelihood, to find the one that fits the text.

The SLM does not know the fact, but it knows what *kind* of value the sentence asks for. For a
candidate v of kind k,

    score(v) = log p(v, and its end | text, no CALL) - log p(v, and its end | k is due),

which estimates the log-probability that kind k is due. So a birth date, one of thousands, does not
lose to a country, one of ten, only because each single date is unlikely. The second term is the
reference log-likelihood (``calibration``, ``reference``). Without a calibration it is replaced by
-log A, as if the A values of the kind (2^entropy in the source) were equally likely. This is too
high for kinds that have many values outside the source, such as names. If even the best score is
too low (for calibrated kinds, lower than that of nearly all right values; otherwise below
``log 0.05``), no candidate is used and the SLM continues alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lacy.cascade.backend import Backend
from lacy.cascade.calibration import KindFit
from lacy.cascade.choice import ValueChoice
from lacy.cascade.pruning import CandidateSearch
from lacy.cascade.reference import ReferenceLikelihoods, ValueKey
from lacy.cascade.sequence import TextSequence, TokenizedCandidate
from lacy.cascade.settings import DEFAULT_ABSTAIN, Abstain
from lacy.corpus import TokenText
from lacy.types import Candidate

CALIBRATED_ABSTAIN = math.log(0.01)
"""The same for calibrated kinds, whose scores are more accurate."""

MAX_TOKEN_CHARACTERS = 200
"""No token has more characters, so texts that cannot fit are rejected without tokenizing them."""

SLACK = 1.0
"""Tolerance in nats by which a score may be below the low quantile of a calibrated kind."""


def tokenize_candidates(
    candidates: Sequence[Candidate], token_text: TokenText, room: int
) -> list[TokenizedCandidate]:
    """Tokenize candidates; leave out those without tokens or with more than ``room``."""
    tokenized = []
    for candidate in candidates:
        if len(candidate.text) > MAX_TOKEN_CHARACTERS * (room + 1):
            continue
        tokens = tuple(token_text.encode_continuation(candidate.text))
        if tokens and len(tokens) <= room:
            tokenized.append(TokenizedCandidate(candidate, tokens))
    return tokenized


async def rank(
    backend: Backend,
    sequences: Sequence[TextSequence],
    options: Sequence[Sequence[TokenizedCandidate]],
    reference: ReferenceLikelihoods | None = None,
    limits: Sequence[Sequence[float]] | None = None,
) -> list[list[float | None]]:
    """Return the score in nats of each sequence's options (see the module's docstring).

    Args:
        backend: scores the tokens.
        sequences: the sequences that called.
        options: the candidates of each sequence.
        reference: reference log-likelihoods, if the model is calibrated.
        limits: the minimum score for each option to be used (``min_score``). If given, options that
            cannot be chosen may have None instead of a score.
    """
    if not sequences:
        return []
    candidates = [option.candidate for group in options for option in group]
    reference_logps = reference.look_up(map(value_key, candidates)) if reference else {}
    ends = reference.ends if reference else None
    known = [[reference_score(o.candidate, reference_logps) for o in group] for group in options]
    tokens = [[option.tokens for option in group] for group in options]
    firsts = backend.first_logps(sequences, tokens) if limits is not None else None
    searches = []
    for n, group in enumerate(tokens):
        bounds = None
        if firsts is not None:
            bounds = [first - r for first, r in zip(firsts[n], known[n], strict=True)]
        searches.append(CandidateSearch(group, bounds, limits[n] if limits else ()))
    while chosen := {n: found for n, s in enumerate(searches) if (found := s.next())}:
        # Candidates that share their tokens are scored once.
        unique = [list(dict.fromkeys(tokens[n][i] for i in found)) for n, found in chosen.items()]
        logps = await backend.score([sequences[n] for n in chosen], unique, ends)
        for (n, found), group, logp in zip(chosen.items(), unique, logps, strict=True):
            by_tokens = dict(zip(group, logp, strict=True))
            searches[n].add({i: by_tokens[tokens[n][i]] - known[n][i] for i in found})
    return [search.scores for search in searches]


def rank_by_reading(
    sequence: TextSequence, sentences: str, options: Sequence[TokenizedCandidate]
) -> list[float]:
    """Return the log-probability that each option is right, after reading the source's sentences.

    Args:
        sequence: a text of an engine with a reader.
        sentences: what the source says (``reader.sentences_of``).
        options: the candidates.
    """
    reader, choice = sequence.engine.reader, sequence.engine.choice
    assert reader is not None
    read = reader.score(sequence, sentences, [option.tokens for option in options])
    gains = reader.relation_gains(sequence, [option.candidate for option in options])
    return choice.log_probabilities(list(zip(read, gains, strict=True)))


def value_key(candidate: Candidate) -> ValueKey:
    """Return the key of a candidate's reference log-likelihood."""
    return ValueKey(candidate.subject, candidate.kind, candidate.text.strip())


def reference_score(candidate: Candidate, reference_logps: Mapping[ValueKey, float]) -> float:
    """Return a candidate's reference log-likelihood, or the estimate -log A without one."""
    logp = reference_logps.get(value_key(candidate))
    return -math.log(max(candidate.alternatives, 1.0)) if logp is None else logp


def min_score(
    candidate: Candidate,
    abstain: Abstain,
    kinds: Mapping[str, KindFit] | None = None,
    choice: ValueChoice | None = None,
) -> float:
    """Return the minimum score for a candidate to be used; -inf if there is none.

    Args:
        candidate: the best candidate.
        abstain: the engine's setting.
        kinds: the calibration of kinds, if any.
        choice: what has computed the score after reading, if anything.
    """
    if abstain is None:
        return -math.inf
    if choice is not None:
        default = abstain in (DEFAULT_ABSTAIN, "reference")
        return math.log(choice.limit) if default else float(abstain)
    fit = kinds.get(candidate.kind) if kinds else None
    if abstain == "reference":
        return max(CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else DEFAULT_ABSTAIN
    return min(abstain, CALIBRATED_ABSTAIN, fit.low - SLACK) if fit else abstain
