"""Measure a model on true texts: where it would call, and its losses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lacy.evaluate.bits import fact_loss, language_loss
from lacy.evaluate.calls import CallQuality, call_quality
from lacy.evaluate.signals import read_signals
from lacy.results import Score
from lacy.types import Document


@dataclass(frozen=True, slots=True)
class TextMeasurements:
    """Measurements of one model along true texts; intervals are over texts."""

    calls: CallQuality
    language_loss: Score
    """Loss on tokens that state no fact."""
    fact_loss: Score
    """Loss on fact tokens, without ``<CALL>``."""


def measure_on_texts(
    loaded: Any, documents: Iterable[Document], *, call_rate: float = 0.22, seed: int = 0
) -> TextMeasurements:
    """Run a model on marked texts, and measure where it would call and its losses.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: texts with marks; what exceeds the model's context is left out.
        call_rate: rate at which precision and recall of calls are measured.
        seed: seed of the bootstrap.
    """
    signals = read_signals(loaded, documents)
    return TextMeasurements(
        call_quality(signals, call_rate=call_rate, seed=seed),
        language_loss(signals, seed=seed),
        fact_loss(signals, seed=seed),
    )
