"""What a model's signals look like on true texts, read once, so that a cascade starts well.

Two things are learned from texts with marks. How likely a value of each kind is *where its kind is
due*: against that, a candidate's likelihood tells whether its kind is due here (``rank``). And the
signals at every place where the model would decide: a running quantile begins with them instead
of an empty window (``policy.Budget.seeds``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lacy.cascade.signals import teacher_forced_signals
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Document, MarkFlag

SEEDS = 1000
"""Signals kept: as many as the window of a budget holds."""

LEAST = 5
"""Values of a kind below which nothing is learned of it."""

LOW = 0.02
"""Which quantile of a kind's likelihoods counts as the least that is still usual."""


@dataclass(frozen=True, slots=True)
class KindFit:
    """Log-likelihoods (nats) of a kind's values where they stand in true texts.

    The end of the value (no ``<CALL>`` after it) counts in.
    """

    mean: float
    low: float
    """Their ``LOW`` quantile."""
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned; ``Engine(calibration=...)`` uses it."""

    kinds: Mapping[str, KindFit] = field(default_factory=dict)
    """By relation (or, where marks have none, by reason)."""
    signals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By name: at positions where the model decides, at most ``SEEDS`` evenly drawn."""

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        data = {
            "kinds": {k: [fit.mean, fit.low, fit.n] for k, fit in self.kinds.items()},
            "signals": {name: list(values) for name, values in self.signals.items()},
        }
        write_atomic(path, json.dumps(data) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what ``save`` wrote.

        Raises:
            LacyError: E64, the file holds something else.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            kinds = {
                k: KindFit(float(m), float(o), int(n)) for k, (m, o, n) in data["kinds"].items()
            }
            signals = {k: tuple(float(v) for v in values) for k, values in data["signals"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LacyError("E64", path=path, why=str(error)) from error
        return cls(kinds, signals)


def calibrate(loaded: Any, documents: Iterable[Document]) -> Calibration:
    """Read a model along true texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load``.
        documents: texts with marks, a hundred or so, best not those that scores are taken on. A
            mark's kind is its relation, or its reason where it has none.

    Returns:
        Fits of the kinds with at least ``LEAST`` values, and the signals.
    """
    texts = list(documents)
    found: dict[str, list[float]] = {}
    pooled: dict[str, list[np.ndarray]] = {"margin": [], "p_call": [], "entropy": [], "top2": []}
    read = {document.id: document for document in texts}
    for signals in teacher_forced_signals(loaded, texts):
        start = (signals.marks & MarkFlag.START) > 0
        fact = (signals.marks & MarkFlag.FACT) > 0
        for name, parts in pooled.items():
            parts.append(getattr(signals, name)[start | ~fact])
        marks = [m for m in read[signals.id].marks if m.reason != "CONTENT"]
        if start.sum() != len(marks):  # cut at the context, or values that touch
            continue
        value_of = np.cumsum(start) - 1
        for number, mark in enumerate(marks):
            places = np.flatnonzero(fact & (value_of == number))
            after = min(places[-1] + 1, len(signals.p_call) - 1)
            ends = math.log(max(1.0 - signals.p_call[after], 1e-9))
            logp = float(signals.logprob[places].sum()) + ends
            found.setdefault(mark.relation or mark.reason, []).append(logp)
    kinds = {
        kind: KindFit(float(np.mean(values)), float(np.quantile(values, LOW)), len(values))
        for kind, values in found.items()
        if len(values) >= LEAST
    }
    return Calibration(kinds, {name: _evenly(parts) for name, parts in pooled.items() if parts})


def _evenly(parts: list[np.ndarray]) -> tuple[float, ...]:
    """At most ``SEEDS`` finite values, drawn at equal distances."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return ()
    step = math.ceil(len(values) / SEEDS)
    return tuple(float(value) for value in values[::step])
