"""Find the tokens that llama.cpp leaves out of its answers.

If a character takes several tokens, its server reports only the last of them. The others are found
from the text, which contains the whole character.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from lacy.corpus import TokenText

LONGEST = 4
"""Maximum number of bytes, and so of tokens, of a character."""


def unreported_parts(ids: Sequence[int], text: str, token_text: TokenText) -> list[list[int]]:
    """Return, for each reported token, the tokens before it that were not reported.

    Args:
        ids: the reported tokens.
        text: the text of all tokens.
        token_text: the bytes of tokens.
    """
    said, at, found = text.encode(), 0, []
    for token in ids:
        new = token_text.bytes_of(token)
        gaps = (n for n in range(LONGEST) if said.startswith(new, at + n))
        gap = next(gaps, 0) if new else 0
        found.append(_tokens_of_bytes(said[at : at + gap], token_text))
        at += gap + len(new)
    return found


def _tokens_of_bytes(part: bytes, token_text: TokenText) -> list[int]:
    """Return the token with these bytes, or a token for each byte."""
    if not part:
        return []
    known = _by_bytes(token_text)
    if part in known:
        return [known[part]]
    single = [part[n : n + 1] for n in range(len(part))]
    return [known[byte] for byte in single if byte in known]


@lru_cache(maxsize=8)
def _by_bytes(token_text: TokenText) -> dict[bytes, int]:
    return {token_text.bytes_of(n): n for n in reversed(range(len(token_text.tokenizer)))}
