"""The measurements of ``ranking.py``: scores of candidates, and how often the best is right."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ranking_candidates import Fact, Place

from lacy.cascade.calibration import Calibration
from lacy.cascade.rank import DEFAULT_ABSTAIN, min_score, rank, reference_score, tokenize_candidates
from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.model import Decoder
from lacy.results import Score, ratio
from lacy.sources import continuation
from lacy.types import Candidate

SCORED = ("likelihood", "per_token", "uncalibrated", "calibrated")
"""Likelihood alone, divided by the tokens, and the two scores of ``lacy.cascade``."""
EXPECTED = ("chance", "frequent_kind", "kind_known")
"""One of all; one of the most frequent kind in training; one of the right kind: expectations."""


MIN_PLACES = 10
"""Places below which a kind of value gets no rows."""


class Taken(NamedTuple):
    """The best candidate of a natural set by one ranking, and its distance to the limit."""

    right: bool
    over: float
    over_absent: float
    """The same where the right value is not offered."""


class Counts:
    """Right choices and places per unit, by (split, distractors, K, ranking, kind)."""

    def __init__(self) -> None:
        self.pairs: dict[tuple, dict[str, list[float]]] = defaultdict(dict)
        self.taken: dict[tuple[str, str], dict[str, list[Taken]]] = defaultdict(dict)

    def add(self, key: tuple, unit: str, right: float) -> None:
        """Add one choice."""
        pair = self.pairs[key].setdefault(unit, [0.0, 0.0])
        pair[0] += right
        pair[1] += 1.0

    def merge(self, others: Iterable[Counts]) -> Counts:
        """Merge counts of other seeds, which have other people."""
        for other in others:
            for key, units in other.pairs.items():
                self.pairs[key].update(units)
            for key, taken in other.taken.items():
                self.taken[key].update(taken)
        return self

    def score(self, key: tuple) -> Score:
        """Return the share of right choices, with an interval over units."""
        pairs = np.asarray(list(self.pairs[key].values()))
        unit = "share" if key[3] in SCORED else "expectation"
        return ratio(pairs[:, 0], pairs[:, 1], unit=unit)

    def rows(self, seeds: Sequence[Counts]) -> Iterator[dict]:
        """Yield a row per key with the value of each seed; rare kinds of values are left out."""
        for key, units in self.pairs.items():
            places = sum(n for _, n in units.values())
            if key[4] != "all" and (key[3] not in SCORED or places < MIN_PLACES):
                continue
            score = self.score(key)
            apart = [each.score(key).value for each in seeds if key in each.pairs]
            yield dict(zip(("split", "distractors", "k", "ranking", "kind"), key, strict=True)) | {
                "value": score.value, "low": score.low, "high": score.high, "units": score.n,
                "places": int(places),
                "seeds": " ".join(f"{value:.4g}" for value in apart),
            }  # fmt: skip

    def as_json(self) -> dict:
        """Return the counts as JSON data."""
        pairs = [[*key, units] for key, units in self.pairs.items()]
        return {"pairs": pairs, "taken": [[*key, units] for key, units in self.taken.items()]}

    @classmethod
    def of_json(cls, kept: dict) -> Counts:
        """Return the counts that ``as_json`` wrote."""
        counts = cls()
        for *key, units in kept["pairs"]:
            counts.pairs[tuple(key)] = units
        for split, ranking, units in kept["taken"]:
            taken = {unit: [Taken(*t) for t in all_] for unit, all_ in units.items()}
            counts.taken[split, ranking] = taken
        return counts


class OneText:
    """The backend that ``rank`` needs: a decoder that has read one text."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    async def score(
        self,
        texts: Sequence[Place],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Return the log-likelihoods of candidates after the text."""
        return self.decoder.score([0] * len(texts), candidates, whole=True, ends=ends)


class Scorer:
    """Scores candidates as the cascade does.

    Args:
        loaded: the model.
        calibration: of this model.
        alternatives: effective number of values, by kind.
    """

    def __init__(
        self, loaded: object, calibration: Calibration, alternatives: Mapping[str, float]
    ) -> None:
        self.loaded = loaded
        self.kinds = calibration.kinds
        self.reference = calibration.reference(loaded)
        self.alternatives = alternatives
        self.text = TokenText(loaded.tokenizer)
        self.call_id = call_id_of(loaded)

    def of(self, place: Place) -> dict[str, dict[Fact, float]]:
        """Return each ranking's scores of all candidates of a place."""
        decoder = Decoder(self.loaded.model, call_id=self.call_id)
        ids = [begin_end(self.loaded.tokenizer)[0], *self.text.encode(place.text)]
        decoder.feed([ids])
        offered = {fact: self.candidate(place, fact) for fact in place.facts()}
        room = decoder.context - len(ids)
        options = tokenize_candidates(list(offered.values()), self.text, room)
        fits = {id(option.candidate): option for option in options}
        facts = {f: fits[id(c)] for f, c in offered.items() if id(c) in fits}
        group = list(facts.values())
        backend = OneText(decoder)
        uncalibrated = asyncio.run(rank(backend, [place], [group]))[0]
        alone = [  # without the reference log-likelihood
            score + reference_score(o.candidate, {})
            for score, o in zip(uncalibrated, group, strict=True)
        ]
        found = {
            "likelihood": alone,
            "per_token": [s / len(o.tokens) for s, o in zip(alone, group, strict=True)],
            "uncalibrated": uncalibrated,
            "calibrated": asyncio.run(rank(backend, [place], [group], self.reference))[0],
        }
        return {name: dict(zip(facts, scores, strict=True)) for name, scores in found.items()}

    def candidate(self, place: Place, fact: Fact) -> Candidate:
        """Return a fact as a source would offer it."""
        return Candidate(
            continuation(place.text, fact.value), kind=fact.kind, subject=place.subject,
            alternatives=self.alternatives.get(fact.kind, 1.0),
        )  # fmt: skip

    def limit(self, ranking: str, place: Place, fact: Fact) -> float:
        """Return the score from which on the cascade takes it."""
        kinds = self.kinds if ranking == "calibrated" else None
        return min_score(self.candidate(place, fact), DEFAULT_ABSTAIN, kinds)


def measure(scorer: Scorer, places: Sequence[Place], frequent: Sequence[str]) -> Counts:
    """Count the right choices at all places.

    Args:
        scorer: of the model.
        places: with their candidates.
        frequent: kinds, the most frequent in training first.
    """
    counts = Counts()
    for place in places:
        scores = scorer.of(place)
        for (distractors, count), facts in place.sets.items():
            known = [fact for fact in facts if fact in scores["likelihood"]]
            if place.right not in known or len(known) < 2:
                continue
            base = (place.split, distractors, count)
            chosen = {m: best_of(known, scores[m]) == place.right for m in SCORED}
            for ranking, right in (chosen | expected(place.right, known, frequent)).items():
                counts.add((*base, ranking, "all"), place.unit, right)
                if distractors in ("natural", "unsaid") or (distractors, count) == ("same", 16):
                    counts.add((*base, ranking, place.right.kind), place.unit, right)
            counts.add((*base, "candidates", "all"), place.unit, len(known))
            if distractors == ("unsaid" if ("unsaid", 0) in place.sets else "natural"):
                for ranking in ("uncalibrated", "calibrated"):
                    taken = take(scorer, ranking, place, known, scores[ranking])
                    by_unit = counts.taken[place.split, ranking]
                    by_unit.setdefault(place.unit, []).append(taken)
    return counts


def best_of(facts: Sequence[Fact], scores: Mapping[Fact, float]) -> Fact:
    """Return the fact with the highest score, of equals the last, as the right one is first."""
    return max(reversed(facts), key=lambda fact: scores[fact])


def expected(right: Fact, facts: Sequence[Fact], frequent: Sequence[str]) -> dict[str, float]:
    """Return how often blind choices are right."""
    kinds = Counter(fact.kind for fact in facts)
    frequent_kind = next((kind for kind in frequent if kind in kinds), facts[-1].kind)
    return {
        "chance": 1 / len(facts),
        "frequent_kind": (right.kind == frequent_kind) / kinds[frequent_kind],
        "kind_known": 1 / kinds[right.kind],
    }


def take(
    scorer: Scorer, ranking: str, place: Place, facts: Sequence[Fact], scores: Mapping[Fact, float]
) -> Taken:
    """Compare the best with its limit, with the right value among the candidates and without."""
    over = {fact: scores[fact] - scorer.limit(ranking, place, fact) for fact in facts}
    first = best_of(facts, scores)
    rest = [fact for fact in facts if fact != place.right]
    return Taken(first == place.right, over[first], over[best_of(rest, scores)])


def curve(
    taken: Mapping[str, Sequence[Taken]], limits: Sequence[float] | None = None
) -> list[dict]:
    """Return precision against coverage as the limit is raised; 0 is the limit of the cascade.

    Returns:
        For each limit, with intervals: the share of places at which a candidate is taken, the share
        of these that is right, and the share taken if the right value is not offered.
    """
    units = list(taken.values())
    if limits is None:
        overs = [t.over for unit in units for t in unit]
        limits = [0.0, *np.quantile(overs, np.linspace(0.0, 0.95, 20)).tolist()]
    rows = []
    for limit in sorted(limits):
        n = [len(unit) for unit in units]
        took = [sum(t.over >= limit for t in unit) for unit in units]
        right = [sum(t.right and t.over >= limit for t in unit) for unit in units]
        absent = [sum(t.over_absent >= limit for t in unit) for unit in units]
        shares = {
            "coverage": ratio(took, n), "precision": ratio(right, took), "absent": ratio(absent, n),
        }  # fmt: skip
        rows.append({"limit": limit, **flat(shares)})
    return rows


def flat(scores: Mapping[str, Score]) -> dict[str, float]:
    """Return figures as columns: value, low and high."""
    found: dict[str, float] = {}
    for name, score in scores.items():
        found |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
    return found
