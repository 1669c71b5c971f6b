"""The signals of a model at every position of true texts, as small arrays.

Call quality, stored bits and language loss are functions of these arrays (numpy, one entry per
target token), so the model runs only once. The forward pass is ``cascade.teacher_forced_signals``;
this module adds the fact that each target states.
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

    Likelihoods leave ``<CALL>`` out (the text was written without it), and are in nats.
    """

    id: str
    marks: NDArray[np.uint8]
    """``MarkFlag`` bits of the target."""
    margin: Floats
    """``<CALL>`` logit minus the best other logit (of a sigmoid gate the logit itself); above 0 the
    model calls by itself."""
    p_call: Floats
    loss: Floats
    """``-log p(target)``."""
    entropy: Floats
    """Entropy of the next token: the classic signal of a model without ``<CALL>``."""
    top2: Floats
    """Best minus second-best log-probability; small means unsure."""
    fact: NDArray[np.int32]
    """Index into ``relations`` of the fact that the target states, -1 for none."""
    relations: tuple[str, ...] = ()
    """Relation of each marked value, in the order of the text."""

    @property
    def is_fact(self) -> NDArray[np.bool_]:
        """Targets that belong to a fact."""
        return np.not_equal(self.marks & MarkFlag.FACT, 0)

    @property
    def is_start(self) -> NDArray[np.bool_]:
        """Targets that begin a fact's value."""
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
    for document, found in zip(documents, teacher_forced_signals(loaded, documents), strict=True):
        facts = [mark for mark in document.marks if mark.reason != "CONTENT"]
        result.append(
            DocumentSignals(
                id=document.id,
                marks=found.marks,
                margin=found.margin,
                p_call=found.p_call,
                loss=-found.logprob,
                entropy=found.entropy,
                top2=found.top2,
                fact=fact_index(document, loaded.tokenizer, len(found.targets)),
                relations=tuple(mark.relation or mark.reason for mark in facts),
            )
        )
    return result


def fact_index(document: Document, tokenizer: Any, targets: int) -> NDArray[np.int32]:
    """Return the index of the fact whose characters each target (text, then end) contains.

    Args:
        document: text and marks.
        tokenizer: any fast tokenizer.
        targets: how many targets the model's context left.
    """
    from lacy.annotate import strip_mark, token_spans

    encoding = next(token_spans(tokenizer, [document.text]))
    begins, ends = np.asarray(encoding.offsets, np.int64).reshape(-1, 2).T
    index = np.full(len(encoding.ids) + 1, -1, np.int32)
    facts = [mark for mark in document.marks if mark.reason != "CONTENT"]
    for k, mark in enumerate(facts):
        start, end = strip_mark(mark, document.text)
        inside = (ends > start) & (begins < end) & (index[:-1] < 0)
        index[:-1][inside] = k
    return index[:targets]


Signal = Callable[[DocumentSignals], Floats]
"""A function of ``DocumentSignals`` that is higher where a call is more useful."""

SIGNALS: dict[str, Signal] = {
    "margin": lambda reading: reading.margin,
    "p_call": lambda reading: reading.p_call,
    "entropy": lambda reading: reading.entropy,
    "top2": lambda reading: -reading.top2,
}
"""The signals that a policy can compare with a threshold, by name."""
