"""Find the best candidate without scoring all of them: branch and bound.

The logits of a step give the probability of every candidate's first token, and a candidate is never
likelier than its first token. So once a few candidates are scored, those that cannot reach the best
score need no forward pass. The result is exact: the same best candidate with the same score.
Candidates that are not scored are certainly worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lacy.cascade.policy import nan_as_lowest

FIRST_TOKENS = 20
"""Number of tokens to score in the first round. A forward pass over 20 tokens takes hardly twice as
long as one over a single token, because both have to read all weights."""

ROUNDING = 1e-3
"""Nats by which a bound may be lower than the score because of rounding."""


class CandidateSearch:
    """The search for the best candidate of one call; ``scores`` has the scores so far.

    Args:
        tokens: tokens of each candidate.
        bounds: upper bound of each candidate's score, or None if unknown; then all are scored.
        limits: minimum score for each candidate to be used. If the best candidate certainly does
            not reach its limit, the search ends, because none will be used.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        bounds: Sequence[float] | None,
        limits: Sequence[float],
    ) -> None:
        self.scores: list[float | None] = [None] * len(tokens)
        self._tokens, self._bounds, self._limits = tokens, bounds, limits
        self._rounds = 0

    def add(self, scores: Mapping[int, float]) -> None:
        """Add the scores of some candidates, by index."""
        for index, score in scores.items():
            self.scores[index] = score

    def next(self) -> list[int]:
        """Return the candidates to score next; none once the result is certain."""
        if self._bounds is None:
            return [n for n, score in enumerate(self.scores) if score is None]
        bounds = [nan_as_lowest(bound) + ROUNDING for bound in self._bounds]
        best = best_index(self.scores)
        score = self.scores[best]
        top = float("-inf") if score is None else nan_as_lowest(score)
        possible = [n for n, s in enumerate(self.scores) if s is None and bounds[n] >= top]
        none_fits = all(bounds[n] < self._limits[n] for n in possible)
        if none_fits and top < self._limits[best]:
            return []
        possible.sort(key=lambda n: -bounds[n])
        self._rounds += 1
        return self._first(possible) if self._rounds == 1 else possible

    def _first(self, order: Sequence[int]) -> list[int]:
        """Return the first candidates in ``order``, up to ``FIRST_TOKENS`` distinct tokens."""
        prefixes: set[tuple[int, ...]] = set()
        for count, index in enumerate(order):
            tokens = tuple(self._tokens[index])
            prefixes.update(tokens[:end] for end in range(1, len(tokens) + 1))
            if len(prefixes) > FIRST_TOKENS and count:
                return list(order[:count])
        return list(order)


def best_index(scores: Sequence[float | None]) -> int:
    """Return the index of the highest score (the first of equals).

    NaN counts as lowest, and None, the score of a candidate that was not scored, as lower still.
    """
    known = [n for n, score in enumerate(scores) if score is not None]
    return max(known, key=lambda n: (nan_as_lowest(scores[n] or 0.0), -n), default=0)
