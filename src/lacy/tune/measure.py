"""Score every article by fits on other articles, and measure the gate beside its controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lacy.cascade import GateEntropy
from lacy.tune.figures import (
    SignalFigures,
    TuneFigures,
    gate_calibration,
    kind_figures,
    limit_at,
    signal_figures,
)
from lacy.tune.gate import fit_linear, fit_row, folds
from lacy.tune.mixture import DEFAULT_RATE, fit_gate_entropy
from lacy.tune.states import States


@dataclass(frozen=True)
class Measured:
    """The figures of a gate, and the weights of ``gate+entropy``."""

    figures: TuneFigures
    gate_N: NDArray[np.float64]
    """The gate's scores of articles that it was not fitted on."""
    gate_entropy: GateEntropy | None
    """Weights of gate and entropy; None if there are too few misses."""


def measure(
    table: States,
    due_N: NDArray[np.bool_],
    missed_N: NDArray[np.bool_],
    embedding_VD: NDArray[np.float32],
    inverse_penalty: float,
    seed: int,
    *,
    row_D: NDArray[np.float64] | None = None,
    extra: Mapping[str, NDArray[np.float64]] | None = None,
) -> Measured:
    """Score every article by fits on others.

    Args:
        table: one row per predicted token.
        due_N: True where a call is due, for the gate.
        missed_N: True where the model gets a value wrong, for ``gate+entropy``.
        embedding_VD: the model's input embedding, for the controls.
        inverse_penalty: C of the logistic regression.
        seed: seed of the groups of articles and of the intervals.

        row_D: a row that was fitted on other articles; by default rows are fitted here.
        extra: further signals for the target.
    """
    one_ND = embedding_VD[table.input_N]
    controls = {
        "last word": one_ND,
        "last two words": np.concatenate([one_ND, embedding_VD[table.previous_N]], axis=1),
    }
    signals = {name: np.zeros(len(table)) for name in ("gate", *controls)}
    combined_N: NDArray[np.float64] | None = np.zeros(len(table))
    for fold in folds(table.article_N, seed=seed):
        own_D, mix = row_D, np.concatenate([fold.fit, fold.mix])
        if own_D is None:
            own_D = fit_row(table.hidden_ND[fold.fit], due_N[fold.fit], inverse_penalty)
            mix = fold.mix
        signals["gate"][fold.report] = table.hidden_ND[fold.report] @ own_D
        weights = fit_gate_entropy(
            table.hidden_ND[mix] @ own_D, table.entropy_N[mix], missed_N[mix]
        )
        if weights is None:
            combined_N = None
        elif combined_N is not None:
            combined_N[fold.report] = weights(
                signals["gate"][fold.report], table.entropy_N[fold.report]
            )
        for name, features_ND in controls.items():
            score = fit_linear(features_ND[fold.fit], due_N[fold.fit], inverse_penalty)
            signals[name][fold.report] = score(features_ND[fold.report])
    signals["entropy"] = table.entropy_N.astype(float)
    gate_entropy = fit_gate_entropy(signals["gate"], table.entropy_N, missed_N)
    if gate_entropy is not None and combined_N is not None:
        limit = limit_at(combined_N, DEFAULT_RATE)
        gate_entropy = replace(gate_entropy, limit=limit)
        signals["gate+entropy"] = combined_N

    signals |= extra or {}
    where = ["gate", *(extra or ()), *controls, "entropy"]

    def measured(due: NDArray[np.bool_], names: Iterable[str]) -> dict[str, SignalFigures]:
        return {
            name: signal_figures(signals[name], due, table.article_N, seed=seed) for name in names
        }

    figures = TuneFigures(
        articles=int(table.article_N.max()) + 1,
        tokens=len(table),
        starts=int(table.is_start.sum()),
        due=int(due_N.sum()),
        misses=int(missed_N.sum()),
        target=measured(due_N, where),
        missed=measured(missed_N, signals) if missed_N.any() else {},
        kinds=kind_figures(
            {name: signals[name] for name in where}, table.marks_N, table.article_N, seed=seed
        ),
        calibration=gate_calibration(signals["gate"], due_N, table.article_N, seed=seed),
    )
    return Measured(figures, signals["gate"], gate_entropy)
