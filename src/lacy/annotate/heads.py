"""The two taggers of the bundled pipeline: entities, and fact spans learned from a judge.

Both are plain spaCy taggers over begin, inside and outside labels on the shared ``tok2vec``. spaCy
would write their labels into ``token.tag_``; lacy reads the scores instead, because a threshold on
the probability of "outside" is more accurate than the likeliest label.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE
from thinc.api import NumpyOps
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spacy.language import Language
    from spacy.tokens import Doc

FACTS, ENTITIES = "facts", "entities"
"""Names of the components."""

ENTITY_THRESHOLD = 0.5
"""Minimum probability that a token is inside an entity, whatever its type."""

INSIDE, OUTSIDE, BEGIN = 1, 2, 3
"""spaCy's values of ``ENT_IOB``."""


def head(nlp: Language, name: str) -> Any:
    """Return the tagger ``name`` if its labels are B-..., I-... (same types) and O, else None."""
    if name not in nlp.pipe_names or nlp.get_pipe_meta(name).factory != "tagger":
        return None
    pipe: Any = nlp.get_pipe(name)
    labels = list(pipe.labels)
    types = entity_types(labels)
    expected = [*(f"B-{t}" for t in types), *(f"I-{t}" for t in types), "O"]
    return pipe if types and labels == expected else None


def entity_types(labels: Sequence[str]) -> list[str]:
    """Return the types among labels such as ``B-GPE``, in order."""
    return [label[2:] for label in labels if label.startswith("B-")]


def probabilities(pipe: Any, docs: Sequence[Doc]) -> list[NDArray[np.float32]]:
    """Return the label probabilities of each document's tokens, ``(T, L)``."""
    logits: list[NDArray[np.float32]] = pipe.model.predict(docs)
    all_NL = np.concatenate(logits)
    exp_NL = np.exp(all_NL - all_NL.max(axis=1, keepdims=True))
    exp_NL /= exp_NL.sum(axis=1, keepdims=True)
    return np.split(exp_NL, np.cumsum([len(doc) for doc in docs])[:-1])


def set_entities(doc: Doc, scores_TL: NDArray[np.float32], types: Sequence[str]) -> None:
    """Set the entities of a document from probabilities of B-..., I-... and O.

    A run of inside tokens is cut where "begin" is more likely than to continue with the type of the
    token before. The type of an entity is the one with the largest probability over its tokens.
    """
    if not len(doc):
        return
    count = len(types)
    begin_TK, inside_TK = scores_TL[:, :count], scores_TL[:, count : 2 * count]
    inside = 1.0 - scores_TL[:, -1] >= ENTITY_THRESHOLD
    before = np.concatenate(([False], inside[:-1]))
    kind_TK = begin_TK + inside_TK
    previous = np.concatenate(([0], kind_TK[:-1].argmax(axis=1)))
    continued = inside_TK[np.arange(len(doc)), previous]
    begins = inside & (~before | (begin_TK.sum(axis=1) > continued))
    columns = np.zeros((len(doc), 2), dtype=np.uint64)
    columns[:, 0] = np.where(inside, np.where(begins, BEGIN, INSIDE), OUTSIDE)
    starts = np.flatnonzero(begins)
    if len(starts):
        kinds = np.add.reduceat(kind_TK * inside[:, None], starts).argmax(axis=1)
        ids = np.array([doc.vocab.strings.add(name) for name in types], dtype=np.uint64)
        columns[inside, 1] = ids[kinds[np.cumsum(begins)[inside] - 1]]
    doc.from_array([ENT_IOB, ENT_TYPE], columns)


def use_numpy_products(nlp: Language) -> None:
    """Let a pipeline multiply matrices with numpy, two to three times faster than thinc's BLIS."""
    fast = NumpyOps(use_blis=False)
    for _, pipe in nlp.components:
        model: Any = getattr(pipe, "model", None)
        for node in model.walk() if hasattr(model, "walk") else ():
            if type(node.ops) is NumpyOps:  # not a GPU's or Apple's
                node.ops = fast


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # cached: it searches all libraries, in milliseconds


def single_thread() -> AbstractContextManager[Any]:
    """Limit numpy to one thread; for small matrices, more threads only cost processor time."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited
