"""What tokens are made of: bytes, merges and Unicode scripts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import regex

from lacy._text import did_you_mean
from lacy.corpus import TokenText
from lacy.errors import LacyError

COMMON_SCRIPTS = (
    "Latin", "Greek", "Cyrillic", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Hebrew",
    "Devanagari", "Thai",
)  # fmt: skip
"""Names of scripts to suggest; any script of Unicode is accepted."""


def protected_ids(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that every vocabulary contains: special and added ones, and all bytes.

    With all bytes, every text can be written, whatever is left out. ``<CALL>`` is a special token.
    """
    text = TokenText(tokenizer)
    added = {int(n) for n in getattr(tokenizer, "added_tokens_decoder", {})}
    single = {n for n in range(len(tokenizer)) if len(text.bytes_of(n)) == 1}
    return frozenset(single | added | {int(n) for n in tokenizer.all_special_ids})


def merges_of(tokenizer: Any) -> list[tuple[str, str]]:
    """Return the merges of a BPE tokenizer in order; empty for other kinds."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return split_merges(model.get("merges") or ())


def split_merges(merges: Iterable[str | Sequence[str]]) -> list[tuple[str, str]]:
    """Return merges as pairs; older files write a pair as one text with a space."""
    pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in merges)
    return [(str(left), str(right)) for left, right in pairs]


def merge_closure(
    kept: Iterable[str], merges: Sequence[tuple[str, str]], known: Collection[str]
) -> set[str]:
    """Add the parts of which BPE makes the kept tokens, down to characters or bytes.

    A text whose tokens are all kept is then split as before: each merge on the way to a kept token
    is kept with it, and no other merge takes its place, because merges are tried in their order.

    Args:
        kept: tokens.
        merges: all merges of the tokenizer in order.
        known: all tokens of the tokenizer.
    """
    makers: dict[str, list[tuple[str, str]]] = {}
    for left, right in merges:
        makers.setdefault(left + right, []).append((left, right))
    found, open_tokens = set(kept), list(kept)
    while open_tokens:
        token = open_tokens.pop()
        parts = {part for pair in makers.get(token, ()) for part in pair}
        if token not in makers and len(token) > 1:  # such as a whole word without merges
            parts = set(token)
        new = {part for part in parts if part in known} - found
        found |= new
        open_tokens += new
    return found


class Scripts:
    """Tells which texts use no other scripts than the given ones.

    Signs that belong to no script (digits, punctuation, spaces, accents) are always allowed.

    Args:
        names: names of scripts in Unicode, such as ``Latin`` or ``Han``; none allows every script.

    Raises:
        LacyError: E273, Unicode has no such script.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        for name in names:
            try:
                regex.compile(rf"\p{{Script={name}}}")
            except regex.error:
                hint = did_you_mean(name.capitalize(), COMMON_SCRIPTS)
                raise LacyError("E273", script=name, hint=hint) from None
        allowed = "".join(rf"\p{{Script={name}}}" for name in names)
        self._pattern = regex.compile(rf"[{allowed}\p{{Script=Common}}\p{{Script=Inherited}}]*+")

    def allow(self, text: bytes) -> bool:
        """True if a token's bytes are text of the scripts; parts of characters are none."""
        if not self.names:
            return True
        try:
            return self._pattern.fullmatch(text.decode("utf-8")) is not None
        except UnicodeDecodeError:
            return False


def ids_of_scripts(tokenizer: Any, names: Sequence[str]) -> frozenset[int]:
    """Return the tokens of some scripts, and the parts of which BPE makes them.

    So a token that is only a part of a character is included if a character of the scripts needs
    it.

    Args:
        tokenizer: a fast tokenizer.
        names: as in ``Scripts``.

    Raises:
        LacyError: E273, Unicode has no such script.
    """
    scripts, text = Scripts(names), TokenText(tokenizer)
    if not names:
        return frozenset(range(len(tokenizer)))
    allowed = [n for n in range(len(tokenizer)) if scripts.allow(text.bytes_of(n))]
    vocabulary = tokenizer.get_vocab()
    kept = merge_closure(tokenizer.convert_ids_to_tokens(allowed), merges_of(tokenizer), vocabulary)
    return frozenset(vocabulary[token] for token in kept)
