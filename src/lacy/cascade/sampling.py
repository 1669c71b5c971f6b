"""Choose the model's own next token; find where words begin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lacy.cascade.sequence import TextSequence
from lacy.cascade.whole_values import forbid_continuation


def begins_word(text: str, new: bytes) -> bool:
    """True if a token with the bytes ``new`` would not continue the text's last word.

    Bytes that are not ASCII count as letters, because most of them are.
    """
    if not text or not text[-1].isalnum() or not new:
        return True
    return new[0] < 0x80 and not chr(new[0]).isalnum()


def nucleus(p_BV: Tensor, top_p: float) -> Tensor:
    """Set all probabilities to 0 but those of the smallest set with at least ``top_p`` in total."""
    sorted_BV, order_BV = p_BV.sort(dim=-1, descending=True)
    drop_BV = sorted_BV.cumsum(dim=-1) - sorted_BV >= top_p
    drop_BV[:, 0] = False
    return torch.zeros_like(p_BV).scatter(-1, order_BV, sorted_BV.masked_fill(drop_BV, 0.0))


def choose_own_tokens(
    sequences: Sequence[TextSequence], own_RV: Tensor, greedy: Sequence[int]
) -> None:
    """Set each sequence's ``next_token`` to the model's own choice, greedy or sampled.

    A sequence fails if sampling is impossible, because its temperature makes all probabilities
    invalid.

    Args:
        sequences: one sequence per row.
        own_RV: logits without ``<CALL>``.
        greedy: the likeliest token of each row.
    """
    early = [n for n, s in enumerate(sequences) if s.generated < s.engine.min_new_tokens]
    if early and (ends := list(sequences[0].engine.end_ids)):
        own_RV = own_RV.clone()
        own_RV[torch.tensor(early)[:, None], torch.tensor(ends)] = -torch.inf
        greedy = own_RV.argmax(dim=-1).tolist()
    allowed_RV = forbid_continuation(sequences, own_RV, sequences[0].engine.token_text)
    if allowed_RV is not None:
        own_RV, greedy = allowed_RV, allowed_RV.argmax(dim=-1).tolist()
    groups: dict[tuple[float, float], list[int]] = {}
    for n, sequence in enumerate(sequences):
        sequence.next_token = greedy[n]
        if sequence.engine.temperature > 0:
            key = sequence.engine.temperature, sequence.engine.top_p
            groups.setdefault(key, []).append(n)
    for (temperature, top_p), places in groups.items():
        own_GV = own_RV if len(places) == len(sequences) else own_RV[places]
        p_GV = torch.softmax(own_GV / temperature, dim=-1).cpu()
        if top_p < 1:
            p_GV = nucleus(p_GV, top_p)
        for n, p_V in zip(places, p_GV, strict=True):
            try:
                draw = torch.multinomial(p_V, 1, generator=sequences[n].generator)
            except RuntimeError as error:
                sequences[n].fail(error)
            else:
                sequences[n].next_token = int(draw)
