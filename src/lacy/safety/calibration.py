"""Turn logits into probabilities, and choose thresholds, on texts that were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CalibrationMethod = Literal["temperature", "isotonic"]

BINS = 15
"""Bins of equal width of the expected calibration error (Guo et al., arXiv 1706.04599 §2)."""

_CLIP = 30.0


@dataclass(frozen=True)
class ScoreCalibration:
    """A map from logits to probabilities that never reverses their order.

    ``temperature`` divides logits by a number (Guo et al., arXiv 1706.04599 §4.2). ``isotonic``
    interpolates between points of a step function (Zadrozny and Elkan, 2002); it needs more texts.

    Attributes:
        method: the method.
        temperature: divides the logits.
        logits: for ``isotonic``, the points' logits, rising.
        shares: for ``isotonic``, their probabilities.
    """

    method: CalibrationMethod = "temperature"
    temperature: float = 1.0
    logits: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    @classmethod
    def fit(cls, logits_N: Floats, harmful_N: Bools, method: CalibrationMethod) -> ScoreCalibration:
        """Fit on held-out texts of both classes; with one class, logits stay as they are."""
        if not len(logits_N) or harmful_N.all() or not harmful_N.any():
            return cls()
        if method == "temperature":
            from scipy.optimize import minimize_scalar

            signed_N = np.where(harmful_N, -logits_N, logits_N)

            def loss(log_temperature: float) -> float:
                return float(np.logaddexp(0, signed_N / np.exp(log_temperature)).mean())

            found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
            return cls("temperature", float(np.exp(found.x)))
        from sklearn.isotonic import IsotonicRegression

        model = IsotonicRegression(y_min=0.001, y_max=0.999).fit(logits_N, harmful_N)
        # Equal shares at unequal logits would make ties; a slope of 1e-6 keeps the order.
        shares = model.y_thresholds_ + 1e-6 * np.arange(len(model.y_thresholds_))
        return cls("isotonic", 1.0, tuple(map(float, model.X_thresholds_)),
                   tuple(map(float, np.clip(shares, 0.0, 1.0))))  # fmt: skip

    def probabilities(self, logits_N: Floats) -> Floats:
        """Return the probability that each text is harmful."""
        if self.method == "isotonic":
            return np.interp(logits_N, self.logits, self.shares)
        scaled_N = np.clip(logits_N / self.temperature, -_CLIP, _CLIP)
        result: Floats = 1.0 / (1.0 + np.exp(-scaled_N))
        return result

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"method": self.method, "temperature": self.temperature,
                "logits": list(self.logits), "shares": list(self.shares)}  # fmt: skip

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> ScoreCalibration:
        """Read what ``to_data`` returned."""
        return cls(data["method"], float(data["temperature"]), tuple(data["logits"]),
                   tuple(data["shares"]))  # fmt: skip


def threshold_for(probabilities_N: Floats, harmful_N: Bools, rate: float) -> float:
    """Return the least threshold at which at most this share of the safe texts is flagged.

    A text is flagged if its probability is at least the threshold. Without safe texts, the
    threshold is 0.5.

    Args:
        probabilities_N: of held-out texts.
        harmful_N: their labels.
        rate: the false positive rate.
    """
    safe = np.sort(probabilities_N[~harmful_N])[::-1]
    if not len(safe):
        return 0.5
    allowed = int(rate * len(safe))
    if allowed >= len(safe):
        return 0.0
    # Just above the first one that must not be flagged.
    return float(np.nextafter(safe[allowed], 2.0))


def calibration_error(probabilities_N: Floats, harmful_N: Bools, bins: int = BINS) -> float:
    """Return the expected calibration error of the probability of harm; NaN without texts."""
    if not len(probabilities_N):
        return float("nan")
    place_N = np.minimum((probabilities_N * bins).astype(int), bins - 1)
    error = 0.0
    for place in np.unique(place_N):
        mine = place_N == place
        gap = abs(float(probabilities_N[mine].mean()) - float(harmful_N[mine].mean()))
        error += gap * float(mine.mean())
    return error
