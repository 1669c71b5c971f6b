"""The last step of the verifier: regressions over what is known of a fact, and the network.

The first regression judges a fact alone, from its features and phrases. The second also knows how
well the other facts of the same response are supported: a model that does not know a person invents
many facts about them, and one that copies a page invents few. The network's logit is added to
either, and the sum becomes a probability (``Blend``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 2.0
"""Weight, in facts, of the prior logit 0 in the mean over a response's other facts."""

LANDMARKS, GAMMA = 300, 0.01
"""Number of landmarks, and the factor of the squared distance in the kernel's exponent."""

PHRASES, PHRASE_SIZE = 600, 0.3
"""Number of phrases, and their value where a fact has them (a smaller one is a stronger
penalty)."""

LINEAR = 0.2
"""Factor of the values in the linear part: the kernel explains most, and the linear part what lies
far from all landmarks."""

NETWORK = 0.5
"""Weight of the network's logit beside that of a regression; about the best in each part of the
labelled people."""

ROWS = 256
"""Facts whose distances to all landmarks are held at a time."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A logistic regression with a linear part, a kernel part and a weight per phrase.

    Shapes: C values, M landmarks, P phrases.

    Attributes:
        mean: subtracted from each value ``[C]``.
        scale: each difference is divided by it ``[C]``.
        weights: of the linear part ``[C]``.
        landmarks: standardised values of some facts ``[M, C]``.
        bumps: weight of each landmark ``[M]``: of ``exp(-GAMMA * squared distance)``.
        phrases: weight of each phrase ``[P]``.
        bias: the constant ``[1]``.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    landmarks: Floats
    bumps: Floats
    phrases: Floats
    bias: Floats

    @classmethod
    def fit(
        cls, values_NC: Floats, phrases_NP: Floats, labels_N: NDArray[np.bool_], *, c: float
    ) -> Regression:
        """Fit it with an L2 penalty; a larger ``c`` is a weaker one."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression

        mean, scale = values_NC.mean(0), values_NC.std(0)
        scale[scale < 1e-9] = 1.0
        standard_NC = (values_NC - mean) / scale
        count = min(LANDMARKS, len(standard_NC))
        kernel = Nystroem(gamma=GAMMA, n_components=count, random_state=0)
        bumps_NM = kernel.fit_transform(standard_NC)
        every = np.concatenate([LINEAR * standard_NC, bumps_NM, PHRASE_SIZE * phrases_NP], 1)
        model = LogisticRegression(C=c, max_iter=5_000, tol=1e-6)
        model.fit(every, labels_N)
        linear, bumps, phrases = np.split(
            model.coef_[0], [values_NC.shape[1], values_NC.shape[1] + count]
        )
        return cls(
            mean,
            scale,
            LINEAR * linear,
            kernel.components_,
            kernel.normalization_.T @ bumps,
            PHRASE_SIZE * phrases,
            model.intercept_,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> Regression:
        """Read what ``arrays`` returned."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def arrays(self) -> dict[str, Floats]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def logits(self, values_NC: Floats, phrases_NP: Floats) -> Floats:
        """Return the logit of each row."""
        standard_NC = (values_NC - self.mean) / self.scale
        # Sums are taken row by row: a matrix product may round a row differently when the number of
        # rows changes.
        found_N = (standard_NC * self.weights).sum(1) + (phrases_NP * self.phrases).sum(1)
        for start in range(0, len(found_N), ROWS):
            rows = slice(start, start + ROWS)
            away_NM = ((standard_NC[rows, None, :] - self.landmarks) ** 2).sum(2)
            found_N[rows] += (np.exp(-GAMMA * away_NM) * self.bumps).sum(1)
        result: Floats = found_N + self.bias
        return result


@dataclass(frozen=True, slots=True)
class Blend:
    """Adds the logits of a regression and the network: ``slope * (a + network * b) + bias``.

    It is fitted on logits of facts that neither was trained on. A regression that weighed the
    network's logit like another feature would underrate it, because the regression fits its own
    facts too well.
    """

    slope: float
    network: float
    bias: float
    threshold: float
    """Lowest probability of the verdict "supported"."""

    @classmethod
    def fit(cls, logits_N: Floats, network_N: Floats | None, labels_N: NDArray[np.bool_]) -> Blend:
        """Fit slope and bias (Platt scaling); the threshold is 0.5."""
        from sklearn.linear_model import LogisticRegression

        weight = 0.0 if network_N is None else NETWORK
        summed_N = logits_N + (0.0 if network_N is None else weight * network_N)
        model = LogisticRegression(C=1e6).fit(summed_N[:, None], labels_N)
        return cls(float(model.coef_[0, 0]), weight, float(model.intercept_[0]), 0.5)

    def probabilities(self, logits_N: Floats, network_N: Floats | None) -> Floats:
        """Return the probability that each fact is supported."""
        summed_N = logits_N if network_N is None else logits_N + self.network * network_N
        result: Floats = 1.0 / (1.0 + np.exp(-(self.slope * summed_N + self.bias)))
        return result


@dataclass(frozen=True, slots=True)
class Combination:
    """The two regressions (see the module's docstring) and the phrases they know."""

    alone: Regression
    with_response: Regression
    phrases: tuple[str, ...]

    @classmethod
    def fit(
        cls,
        values_NC: Floats,
        said_N: Sequence[Collection[str]],
        labels_N: NDArray[np.bool_],
        responses: Sequence[Any],
        *,
        c: float,
    ) -> Combination:
        """Fit both on facts whose responses are known.

        Args:
            values_NC: the features of each fact.
            said_N: the phrases of each fact.
            labels_N: whether people found it supported.
            responses: which response each fact came from.
            c: inverse strength of the penalty.
        """
        phrases = frequent_phrases(said_N)
        phrases_NP = _phrase_matrix(said_N, phrases)
        alone = Regression.fit(values_NC, phrases_NP, labels_N, c=c)
        context_N2 = response_context(alone.logits(values_NC, phrases_NP), responses)
        both = np.concatenate([values_NC, context_N2], 1)
        return cls(alone, Regression.fit(both, phrases_NP, labels_N, c=c), phrases)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats], phrases: Sequence[str]) -> Combination:
        """Read what ``arrays`` returned."""
        alone, both = (
            Regression.from_arrays(
                {n.removeprefix(f"{part}."): a for n, a in arrays.items() if n.startswith(part)}
            )
            for part in ("alone", "with_response")
        )
        return cls(alone, both, tuple(phrases))

    def arrays(self) -> dict[str, Floats]:
        """Return all arrays by name."""
        parts = {"alone": self.alone, "with_response": self.with_response}
        return {f"{part}.{n}": a for part, one in parts.items() for n, a in one.arrays().items()}

    def logits(
        self, values_NC: Floats, said_N: Sequence[Collection[str]], responses: Sequence[Any]
    ) -> tuple[Floats, Floats]:
        """Return each fact's logit alone, and that with the other facts of its response.

        Args:
            values_NC: the features of each fact.
            said_N: the phrases of each fact.
            responses: which response each fact came from.
        """
        phrases_NP = _phrase_matrix(said_N, self.phrases)
        alone_N = self.alone.logits(values_NC, phrases_NP)
        both = np.concatenate([values_NC, response_context(alone_N, responses)], 1)
        return alone_N, self.with_response.logits(both, phrases_NP)


def frequent_phrases(said_N: Sequence[Collection[str]]) -> tuple[str, ...]:
    """Return the phrases that most facts have, in alphabetical order."""
    counts: dict[str, int] = {}
    for said in said_N:
        for phrase in said:
            counts[phrase] = counts.get(phrase, 0) + 1
    return tuple(sorted(sorted(counts, key=lambda phrase: (-counts[phrase], phrase))[:PHRASES]))


def _phrase_matrix(said_N: Sequence[Collection[str]], phrases: Sequence[str]) -> Floats:
    """Return 1 for each phrase that a fact has, else 0."""
    place = {phrase: number for number, phrase in enumerate(phrases)}
    matrix_NP = np.zeros((len(said_N), len(phrases)))
    for row, said in enumerate(said_N):
        matrix_NP[row, [place[phrase] for phrase in said if phrase in place]] = 1.0
    return matrix_NP


def response_context(logits_N: Floats, responses: Sequence[Any]) -> Floats:
    """Return the mean logit of the other facts of each fact's response, and their number's log.

    The sum over a response does not depend on the order of its facts.
    """
    members: dict[Any, list[int]] = {}
    for number, response in enumerate(responses):
        members.setdefault(response, []).append(number)
    context_N2 = np.zeros((len(logits_N), 2))
    for rows in members.values():
        total = float(np.sort(logits_N[rows]).sum())
        context_N2[rows, 0] = (total - logits_N[rows]) / (len(rows) - 1 + PRIOR)
        context_N2[rows, 1] = np.log(len(rows))
    return context_N2
