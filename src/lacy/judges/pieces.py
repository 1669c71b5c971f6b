"""Words as tuples of word pieces, with weights and stems."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from lacy._text import SURROGATE

Word = tuple[int, ...]
"""The ids of a word's pieces. BERT's vocabulary has no case, so neither have words."""

RARE = 10.0
"""Weight of a word of several pieces: too rare for the vocabulary."""

CONTENT = 4.6
"""Least weight of a content word; the 100 most frequent words have less."""

_FIRST_WORD = 1996
"""Id of "the". From here on, BERT's vocabulary is ordered by frequency."""
FREQUENT_WORDS = range(_FIRST_WORD, 12_000)
"""Ids of frequent whole words."""
_DIGITS = range(1014, 1024)
_SUFFIXES = ("ing", "ers", "ed", "es", "er", "or", "s", "ion", "ly")


class PlacedWord(NamedTuple):
    """A word of a text: its pieces are the tokens ``[start, end)``."""

    word: Word
    start: int
    end: int


class WordPieces:
    """Splits texts into words of an uncased BERT vocabulary.

    Args:
        tokenizer: BERT's tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._text_of = {index: piece for piece, index in vocabulary.items()}
        self.cls, self.sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
        self.stem = lru_cache(maxsize=1 << 16)(self._stem)

    def encode(self, texts: list[str]) -> list[Encoding]:
        """Encode texts without special tokens."""
        whole = [SURROGATE.sub("\ufffd", text) for text in texts]
        return self._tokenizer.encode_batch(whole, add_special_tokens=False)

    def text_of(self, word: Word) -> str:
        """Return the letters of a word."""
        return "".join(self._text_of[piece].removeprefix("##") for piece in word)

    def _stem(self, word: Word) -> str:
        text = self.text_of(word)
        for suffix in _SUFFIXES:
            if text.endswith(suffix) and len(text) - len(suffix) >= 4:
                return text[: -len(suffix)].rstrip("e")
        return text.rstrip("e")


def placed_words(encoding: Encoding) -> list[PlacedWord]:
    """Return the words of an encoded text, in their order."""
    found: list[PlacedWord] = []
    last = None
    for place, (piece, number) in enumerate(zip(encoding.ids, encoding.word_ids, strict=True)):
        if found and number == last:
            word, start, _ = found[-1]
            found[-1] = PlacedWord((*word, piece), start, place + 1)
        else:
            found.append(PlacedWord((piece,), place, place + 1))
        last = number
    return found


def weight(word: Word) -> float:
    """Return how much a word tells: the logarithm of its rank by frequency (Zipf's law).

    Punctuation and letters weigh nothing, single digits as much as frequent content words.
    """
    if len(word) > 1:
        return RARE
    if word[0] < _FIRST_WORD:
        return 5.0 if word[0] in _DIGITS else 0.0
    return math.log(max(word[0] - _FIRST_WORD + 6, 1))
