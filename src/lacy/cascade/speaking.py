"""What a small model says next: where its words begin, and which tokens it draws from."""

from __future__ import annotations

import torch
from torch import Tensor


def begins_word(text: str, piece: bytes) -> bool:
    """Whether ``piece`` (of a character, or of several) would not continue the text's last word.

    Bytes that are not ASCII count as letters: most of them are.
    """
    if not text or not text[-1].isalnum() or not piece:
        return True
    return piece[0] < 0x80 and not chr(piece[0]).isalnum()


def nucleus(p_BV: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of tokens that holds at least ``top_p`` (at least one)."""
    sorted_BV, order_BV = p_BV.sort(dim=-1, descending=True)
    drop_BV = sorted_BV.cumsum(dim=-1) - sorted_BV >= top_p
    drop_BV[:, 0] = False
    return torch.zeros_like(p_BV).scatter(-1, order_BV, sorted_BV.masked_fill(drop_BV, 0.0))
