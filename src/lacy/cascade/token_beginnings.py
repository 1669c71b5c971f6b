"""Find the tokens that continue a word, a number or a name, by the characters they begin with."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lacy.corpus import TokenText

_DASHES = (b"-", b"/", "–".encode(), "—".encode())


@lru_cache(maxsize=8)
def tokens_beginning_with(token_text: TokenText, size: int, beginning: str) -> Tensor:
    """Return the tokens below ``size`` with a certain beginning.

    Args:
        token_text: the tokens' text; the result is kept for a few tokenizers.
        size: number of tokens with logits.
        beginning: ``"digits"``, ``"letters"`` (letters and digits), ``"range"`` (digits, also after
            a space), ``"names"`` (letters and digits, and capitals after a space) or ``"number"``
            (the same and dashes, which would begin a range).
    """
    found = [n for n in range(size) if continues(token_text.bytes_of(n), beginning)]
    return torch.tensor(found, dtype=torch.long)


def continues(token: bytes, beginning: str) -> bool:
    """True if a token begins as in ``tokens_beginning_with``."""
    first = token[:1]
    if beginning == "number" and token.removeprefix(b" ").startswith(_DASHES):
        return True
    if beginning in ("names", "number") and first == b" ":
        return b"A" <= token[1:2] <= b"Z"
    if beginning == "range" and first == b" ":
        return token[1:2].isdigit()
    return first.isdigit() or (beginning not in ("digits", "range") and is_letter(first))


def is_letter(first: bytes) -> bool:
    """True if a token with this first byte begins with a letter of a script with spaces."""
    return first.isalpha() or b"\xc3" <= first < b"\xe0"  # the latter begin two bytes
