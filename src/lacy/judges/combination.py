"""The last step of the verifier: logistic regressions over what is known of a fact.

The first judges a fact alone, from its features and the network's logit. The second also knows how
well the other facts of the same response are supported: a model that does not know a person invents
many facts about them, and one that copies a page invents few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 2.0
"""Weight, in facts, of the prior logit 0 in the mean over a response's other facts."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A logistic regression on standardised values.

    Attributes:
        mean: subtracted from each value.
        scale: each difference is divided by it.
        weights: one per value.
        bias: the constant.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    @classmethod
    def fit(cls, values_NC: Floats, labels_N: NDArray[np.bool_], *, c: float) -> Regression:
        """Fit it with an L2 penalty; a larger ``c`` is a weaker one."""
        from sklearn.linear_model import LogisticRegression

        mean, scale = values_NC.mean(0), values_NC.std(0)
        scale[scale < 1e-9] = 1.0
        model = LogisticRegression(C=c, max_iter=5_000, tol=1e-8)
        model.fit((values_NC - mean) / scale, labels_N)
        return cls(mean, scale, model.coef_[0], float(model.intercept_[0]))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Regression:
        """Read what ``as_data`` wrote."""
        mean, scale, weights = (np.asarray(data[n], float) for n in ("mean", "scale", "weights"))
        return cls(mean, scale, weights, float(data["bias"]))

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        arrays = {"mean": self.mean, "scale": self.scale, "weights": self.weights}
        return {**{name: array.tolist() for name, array in arrays.items()}, "bias": self.bias}

    def logits(self, values_NC: Floats) -> Floats:
        """Return the logit of each row."""
        # Multiplied and summed row by row: a matrix product may round a row differently when the
        # number of rows changes.
        result: Floats = ((values_NC - self.mean) / self.scale * self.weights).sum(1) + self.bias
        return result


@dataclass(frozen=True, slots=True)
class Combination:
    """The two regressions; see the module's docstring."""

    alone: Regression
    with_response: Regression

    @classmethod
    def fit(
        cls, values_NC: Floats, labels_N: NDArray[np.bool_], responses: Sequence[Any], *, c: float
    ) -> Combination:
        """Fit both on facts whose responses are known.

        The second needs logits of the first for facts that it was not fitted on, so callers should
        pass values from many topics: with tens of values and thousands of facts the difference is
        small.
        """
        alone = Regression.fit(values_NC, labels_N, c=c)
        context_N2 = response_context(alone.logits(values_NC), responses)
        both = np.concatenate([values_NC, context_N2], 1)
        return cls(alone, Regression.fit(both, labels_N, c=c))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Combination:
        """Read what ``as_data`` wrote."""
        return cls(*(Regression.from_data(data[name]) for name in ("alone", "with_response")))

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"alone": self.alone.as_data(), "with_response": self.with_response.as_data()}

    def scores(self, values_NC: Floats, responses: Sequence[Any]) -> Floats:
        """Return the probability that each fact is supported.

        Args:
            values_NC: features and the network's logit.
            responses: which response each fact came from; None for a fact to be judged alone. A
                fact whose response has no other fact is judged alone, too.
        """
        logits = self.alone.logits(values_NC)
        others = np.array([responses.count(r) > 1 if r is not None else False for r in responses])
        if others.any():
            context_N2 = response_context(logits, responses)
            both = np.concatenate([values_NC, context_N2], 1)
            logits = np.where(others, self.with_response.logits(both), logits)
        result: Floats = 1.0 / (1.0 + np.exp(-logits))
        return result


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
