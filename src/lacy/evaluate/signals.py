"""The signals of a model at every position of true texts, as small arrays.

Call quality, stored bits and language loss are computed from these NumPy arrays (one entry per
target token), so the model runs only once. ``cascade.teacher_forced_signals`` does the forward
pass; this module adds which fact each target states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.types import Document, MarkFlag

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DocumentSignals:
    """The signals of one document, one entry per target (the token that a position predicts).

    Losses and entropies are in nats and computed without ``<CALL>``, which the text never contains.
    """

    id: str
    marks: NDArray[np.uint8]
    """``MarkFlag`` bits of the target."""
    margin: Floats
    """``<CALL>`` logit minus the largest other logit (with a sigmoid gate, the logit itself). Above
    0, the model calls of its own accord."""
    p_call: Floats
    """Probability of ``<CALL>``."""
    loss: Floats
    """``-log p(target)``."""
    entropy: Floats
    """Entropy of the next token, the usual uncertainty signal of a model without ``<CALL>``."""
    top2: Floats
    """Largest minus second-largest log-probability; small if the model is unsure."""
    fact: NDArray[np.int32]
    """Index into ``relations`` of the fact that the target states, -1 for none."""
    relations: tuple[str, ...] = ()
    """Relation of each marked value, in the order of the text."""

    @property
    def is_fact(self) -> NDArray[np.bool_]:
        """True for each target that belongs to a fact."""
        return np.not_equal(self.marks & MarkFlag.FACT, 0)

    @property
    def is_start(self) -> NDArray[np.bool_]:
        """True for each target that begins the value of a fact."""
        return np.not_equal(self.marks & MarkFlag.START, 0)


def read_signals(loaded: Any, documents: Iterable[Document]) -> list[DocumentSignals]:
    """Run a model over marked documents (truncated to the model's context).

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: texts with gold marks.

    Returns:
        One ``DocumentSignals`` per document, in the order given.
    """
    from lacy.cascade import teacher_forced_signals

    documents = list(documents)
    result = []
    for document, signals in zip(documents, teacher_forced_signals(loaded, documents), strict=True):
        facts = [mark for mark in document.marks if mark.reason != "CONTENT"]
        result.append(
            DocumentSignals(
                id=document.id,
                marks=signals.marks,
                margin=signals.margin,
                p_call=signals.p_call,
                loss=-signals.logprob,
                entropy=signals.entropy,
                top2=signals.top2,
                fact=fact_index(document, loaded.tokenizer, len(signals.targets)),
                relations=tuple(mark.relation or mark.reason for mark in facts),
            )
        )
    return result


def fact_index(document: Document, tokenizer: Any, targets: int) -> NDArray[np.int32]:
    """Return for each target the index of the fact that it is part of, or -1.

    Args:
        document: a marked text.
        tokenizer: any fast tokenizer.
        targets: number of targets that fit into the model's context.
    """
    from lacy.annotate import strip_mark, token_spans

    encoding = next(token_spans(tokenizer, [document.text]))
    begins, ends = np.asarray(encoding.offsets, np.int64).reshape(-1, 2).T
    index = np.full(len(encoding.ids) + 1, -1, np.int32)  # one more for the end of text
    facts = [mark for mark in document.marks if mark.reason != "CONTENT"]
    for k, mark in enumerate(facts):
        start, end = strip_mark(mark, document.text)
        inside = (ends > start) & (begins < end) & (index[:-1] < 0)
        index[:-1][inside] = k
    return index[:targets]


Signal = Callable[[DocumentSignals], Floats]
"""A function of ``DocumentSignals`` that is higher where a call is more useful."""

SIGNALS: dict[str, Signal] = {
    "margin": lambda signals: signals.margin,
    "p_call": lambda signals: signals.p_call,
    "entropy": lambda signals: signals.entropy,
    "top2": lambda signals: -signals.top2,
}
"""The signals that a policy can compare with a threshold."""
