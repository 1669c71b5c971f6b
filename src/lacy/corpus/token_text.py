"""Convert between tokens and text exactly, byte by byte.

``TokenText`` knows the bytes of each token. Therefore a character split over two tokens is neither
lost nor duplicated, and a continuation is encoded into tokens for exactly its characters.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

_ANCHORS = ("", "\n", "x", ".")
"""Prefixes to try before a continuation, so that it is not encoded like the start of a text."""

_REMEMBER = 65_536
"""Number of encoded continuations that are cached per tokenizer."""


class TokenText:
    """Encodes and decodes exactly, using the bytes of each token of one tokenizer.

    Supports byte-level tokenizers (GPT-2, Llama 3) and Metaspace tokenizers with byte fallback
    (SentencePiece). For any other tokenizer, a token's bytes are what ``decode`` returns for it in
    the middle of a text. Special tokens have no bytes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._scheme = _scheme(tokenizer)
        self._special = set(tokenizer.all_special_ids)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special |= {number for number, token in added.items() if token.special}
        self._added = {n: str(t).encode() for n, t in added.items() if not t.special}
        self._bytes: dict[int, bytes] = {}
        self._encoded: dict[str, list[int]] = {}

    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes that a token adds to a text; they may be part of a character."""
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._look_up(token)
        return known

    def written(self, token: int) -> bytes:
        """Return the bytes of a token in a prompt; a special token is written as its name."""
        if token not in self._special:
            return self.bytes_of(token)
        return str(self.tokenizer.convert_ids_to_tokens(token)).encode()

    @cached_property
    def name(self) -> str:
        """Fingerprint that is equal for tokenizers with the same tokens."""
        known = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.sha256(known.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Encode a whole text; special tokens in it are encoded as plain text."""
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def encode_continuation(self, text: str) -> list[int]:
        """Return tokens that add exactly ``text`` to whatever comes before.

        If the tokenizer cannot express the text exactly (a character would become ``<unk>``),
        return the closest tokens.
        """
        known = self._encoded.get(text)
        if known is None:
            if len(self._encoded) >= _REMEMBER:
                self._encoded.clear()
            known = self._encoded[text] = self._encode_exactly(text)
        return list(known)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; bytes that form no character become U+FFFD."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", errors="replace")

    def stream(self) -> TextStream:
        """Return a decoder that takes tokens one by one."""
        return TextStream(self)

    def _encode_exactly(self, text: str) -> list[int]:
        wanted = text.encode("utf-8", errors="replace")
        for anchor in _ANCHORS:
            ids = self.encode(anchor + text)
            start = self._after(ids, anchor)
            if start is not None and b"".join(map(self.bytes_of, ids[start:])) == wanted:
                return ids[start:]
        return self.encode(text)

    def _after(self, ids: Sequence[int], anchor: str) -> int | None:
        """Return the number of tokens of the anchor, or None if a token spans its end."""
        if not anchor:
            return 0
        seen = b""
        for number, token in enumerate(ids, start=1):
            seen += self.bytes_of(token)
            if seen.lstrip(b" ") == anchor.encode():
                return number
        return None

    def _look_up(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token]
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""
        if self._scheme == "bytes":
            table = _byte_table()
            return bytes(table[c] for c in piece if c in table)
        if self._scheme is not None:
            if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
                return bytes([int(piece[3:5], 16)])
            return str(piece).replace(self._scheme, " ").encode()
        anchor = self.encode("x")
        with_anchor = self.tokenizer.decode([*anchor, token], clean_up_tokenization_spaces=False)
        alone = self.tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
        return str(with_anchor[len(alone) :]).encode("utf-8", errors="replace")


class TextStream:
    """Decodes tokens one by one; ``add`` returns the characters completed by each token."""

    def __init__(self, token_text: TokenText) -> None:
        self._token_text = token_text
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """Return the characters completed by this token, possibly ""."""
        return self._decoder.decode(self._token_text.bytes_of(token))

    @property
    def whole(self) -> bool:
        """True if the text so far does not end inside a character."""
        return not self._decoder.getstate()[0]

    def finish(self) -> str:
        """Return U+FFFD if the last character is incomplete, else ""."""
        return self._decoder.decode(b"", final=True)


def _scheme(tokenizer: Any) -> str | None:
    """Return how tokens are written: "bytes", the character for a space, or None if unknown."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    for part in parts:
        if part.get("type") == "ByteLevel":
            return "bytes"
        if part.get("type") == "Metaspace":
            return str(part["replacement"])
        if part.get("type") == "Replace" and part.get("content") == " ":
            pattern = part.get("pattern", {})
            return str(pattern.get("String", "▁"))
    return None


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """Map each character that byte-level tokenizers use for a byte to the byte (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table.update({chr(256 + number): byte for number, byte in enumerate(others)})
    return table
