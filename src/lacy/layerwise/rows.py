"""Make token ids of texts for calibration."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lacy._require import require_at_least
from lacy.corpus import TokenText, begin_end, permutation
from lacy.errors import LacyError
from lacy.types import Document

_BATCH_TOKENS = 2048
"""Maximum number of tokens of one tensor; it bounds the memory of a forward pass."""


def text_rows(
    documents: Iterable[Document],
    tokenizer: Any,
    *,
    rows: int = 64,
    length: int = 512,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    """Return the beginnings of a random choice of texts as token ids.

    Each row is the begin token and the first tokens of one text, as in generation: no text sees
    another one, and nothing is padded. Rows of equal length share a tensor, so texts that are
    longer than ``length`` make large batches; shorter texts have tensors of their own.

    Args:
        documents: the texts.
        tokenizer: the model's tokenizer.
        rows: maximum number of texts.
        length: maximum number of tokens of each, with the begin token.
        seed: determines which texts are chosen.

    Returns:
        Tensors ids_BT (int64), the longest texts first.

    Raises:
        LacyError: E12, ``rows`` or ``length`` is too small; E280, no text has a token.
    """
    require_at_least("rows", rows, 1)
    require_at_least("length", length, 2)
    found = list(documents)
    order = permutation(len(found), seed, 0) if found else ()
    encoder, begin = TokenText(tokenizer), begin_end(tokenizer)[0]
    encoded = (encoder.encode(found[number].text)[: length - 1] for number in order)
    chosen = list(itertools.islice(([begin, *ids] for ids in encoded if ids), rows))
    if not chosen:
        raise LacyError("E280", texts=len(found))
    chosen.sort(key=len, reverse=True)
    tensors: list[Tensor] = []
    for size, group in itertools.groupby(chosen, key=len):
        batch, equal = max(1, _BATCH_TOKENS // size), list(group)
        tensors += [torch.tensor(equal[n : n + batch]) for n in range(0, len(equal), batch)]
    return tuple(tensors)
