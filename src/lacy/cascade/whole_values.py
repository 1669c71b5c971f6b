"""Keep values whole where the SLM's text and a source's text meet, and state each value once.

Three rules hold for values (unit ``value``). A value that the text already states is not offered
again. The SLM never continues a word or number that a source has written ("2010" + "s", "18" +
"93", "1,200" + ",000"). Inside a number that the SLM has begun, only the rest of a source's number
may follow, so that no number has digits of two speakers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lacy._text import normalized_words
from lacy.annotate.grammar import is_unspaced
from lacy.corpus import TokenText
from lacy.types import Candidate

if TYPE_CHECKING:
    from lacy.cascade.sequence import TextSequence

_SIGN_AFTER_NUMBER = re.compile(r"\d[.,:/–-]$")


def new_candidates(text: str, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates whose values ``text`` does not contain yet, as whole words.

    Case, accents, punctuation and possessive endings do not matter.
    """
    stated = f" {' '.join(normalized_words(text))} "
    return tuple(
        c
        for c in candidates
        if not (words := normalized_words(c.text)) or f" {' '.join(words)} " not in stated
    )


def whole_numbers(text: str, own: bytes, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that do not mix digits of two speakers.

    Args:
        text: the text so far.
        own: the bytes of the SLM's own next token.
        candidates: possible continuations of the text.
    """
    if not text[-1:].isdigit() and not _SIGN_AFTER_NUMBER.search(text):
        return tuple(candidates)
    goes_on = own[:1].isdigit() or (own[:1] in (b".", b",") and own[1:2].isdigit())
    return tuple(c for c in candidates if c.text[:1].isdigit() == goes_on)


def forbid_continuation(
    sequences: Sequence[TextSequence], own_RV: Tensor, token_text: TokenText
) -> Tensor | None:
    """Return logits in which no token continues a borrowed word or number.

    Args:
        sequences: one sequence per row.
        own_RV: the logits without ``<CALL>``.
        token_text: the tokens' text.

    Returns:
        Changed logits; None if no row changes.
    """
    rows = {n: begin for n, s in enumerate(sequences) if (begin := forbidden_beginning(s))}
    if not rows:
        return None
    own_RV = own_RV.clone()
    for row, beginning in rows.items():
        forbidden_V = tokens_beginning_with(token_text, own_RV.shape[-1], beginning)
        own_RV[row, forbidden_V.to(own_RV.device)] = -torch.inf
    return own_RV


def forbidden_beginning(sequence: TextSequence) -> str:
    """Return which beginning the next token must not have: "letters", "digits" or ""."""
    if sequence.engine.unit != "value" or sequence.forced is not None:
        return ""
    if sequence.answers_in_row:
        last = sequence.text[-1:]
        return "letters" if last.isalnum() and not is_unspaced(last) else ""
    sign = sequence.own_since_answer
    return "digits" if sign and len(sign) == 1 and _SIGN_AFTER_NUMBER.search(sequence.text) else ""


@lru_cache(maxsize=8)
def tokens_beginning_with(token_text: TokenText, size: int, beginning: str) -> Tensor:
    """Return the tokens below ``size`` that begin with a letter or digit, without a space.

    Args:
        token_text: the tokens' text; the result is kept for a few tokenizers.
        size: number of tokens with logits.
        beginning: ``"letters"`` (letters and digits) or ``"digits"``.
    """
    found = [n for n in range(size) if continues(token_text.bytes_of(n), beginning)]
    return torch.tensor(found, dtype=torch.long)


def continues(token: bytes, beginning: str) -> bool:
    """True if a token begins as in ``tokens_beginning_with``."""
    first = token[:1]
    letter = first.isalpha() or b"\xc3" <= first < b"\xe0"  # the latter begin two bytes
    return first.isdigit() or (beginning == "letters" and letter)
