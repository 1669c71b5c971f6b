"""What a small model says next: where its words begin, and which tokens it draws from."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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


def without_ends(own_RV: Tensor, rows: Sequence[int], ends: Collection[int]) -> Tensor:
    """Logits with the tokens ``ends`` masked in some ``rows``."""
    if not rows or not ends:
        return own_RV
    open_RV = own_RV.clone()
    for token in ends:
        open_RV[list(rows), token] = -torch.inf
    return open_RV


def drawn(
    own_RV: Tensor,
    temperature: float,
    top_p: float,
    generators: Sequence[torch.Generator | None],
) -> list[int]:
    """A token for each row, sampled with the row's generator."""
    p_RV = torch.softmax(own_RV / temperature, dim=-1).cpu()
    if top_p < 1:
        p_RV = nucleus(p_RV, top_p)
    return [
        int(torch.multinomial(p_V, 1, generator=generator))
        for p_V, generator in zip(p_RV, generators, strict=True)
    ]
