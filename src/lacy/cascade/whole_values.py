"""Keep values whole where the SLM's text meets a source's, and state each value once.

Three rules hold for values (unit ``value``). A value that the text already states is not offered
again, unless ``Engine(restate=True)``: models that lacy trained from scratch repeat facts. The SLM
never continues a word, number or name that a source has written ("2010" + "s", "1,200" + ",000",
"UNED" + " University"). Inside a number that the SLM has begun, only the rest of a source's number
may follow, so that no number has digits of two speakers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lacy._text import normalized_words
from lacy.annotate.grammar import is_unspaced
from lacy.cascade.token_beginnings import is_letter, tokens_beginning_with
from lacy.corpus import TokenText
from lacy.types import Candidate

if TYPE_CHECKING:
    from lacy.cascade.sequence import TextSequence

_RANGE = re.compile(r"\s?[–—/-]\s?['’]?")
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


def fitting_candidates(
    text: str, own: bytes, candidates: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    """Return the candidates that neither break up a number nor complete a whole word.

    A source may offer the rest of a value that the text has begun. This is right only if the SLM is
    inside that value, which its own next token shows: after "born in 189", "3" completes a number
    if the SLM would write a digit; after "he is a", "ctor" does not complete "actor".

    Args:
        text: the text so far.
        own: the bytes of the SLM's own next token.
        candidates: possible continuations of the text.
    """
    last = text[-1:]
    if last.isdigit() or _SIGN_AFTER_NUMBER.search(text):
        goes_on = own[:1].isdigit() or (own[:1] in (b".", b",") and own[1:2].isdigit())
        return tuple(c for c in candidates if c.text[:1].isdigit() == goes_on)
    if not last.isalpha() or is_unspaced(last) or is_letter(own[:1]):
        return tuple(candidates)
    return tuple(c for c in candidates if not c.text[:1].isalnum() or is_unspaced(c.text[0]))


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
    """Return which beginning the next token must not have; "" if it may have any."""
    if sequence.engine.unit != "value" or sequence.forced is not None:
        return ""
    if sequence.answers_in_row:
        last = sequence.text[-1:]
        if last.isdigit():
            return "number"
        return "names" if last.isalnum() and not is_unspaced(last) else ""
    sign, before = sequence.own_since_answer, sequence.spans[-1].text[-1:]
    if not sign or not before.isdigit():
        return ""
    return "range" if _RANGE.fullmatch(sign) else "digits" if sign in (".", ",", ":") else ""
