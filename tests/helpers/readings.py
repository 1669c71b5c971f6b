"""Readings of made-up documents for tests."""

from __future__ import annotations

import numpy as np

from lacy.evaluate.signals import DocumentSignals
from lacy.types import MarkFlag

S, F, N = int(MarkFlag.FACT | MarkFlag.START), int(MarkFlag.FACT), 0


def reading(marks, margin=None, *, p_call=None, loss=None, fact=None, relations=(), name="d"):
    size = len(marks)

    def column(values):
        return np.zeros(size) if values is None else np.asarray(values, float)

    return DocumentSignals(
        id=name,
        marks=np.asarray(marks, np.uint8),
        margin=column(margin),
        p_call=column(p_call),
        loss=column(loss),
        entropy=column(margin),
        top2=-column(margin),
        fact=np.asarray([-1] * size if fact is None else fact, np.int32),
        relations=tuple(relations),
    )
