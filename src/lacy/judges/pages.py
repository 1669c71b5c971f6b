"""Pages cut into windows, and the windows that a fact is compared with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lacy.judges.pieces import Word, WordPieces, placed_words, weight

WINDOW = 100
"""Maximum length of a window in tokens, including [CLS] and [SEP]."""

SHORT = 30
"""A window that is shorter is filled with a part of the next sentence if that does not fit."""

MAX_PAGE_CHARACTERS = 2_000_000
"""Only this much of a page is read."""

_MARK = re.compile(r"</?s>|\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")

Floats = NDArray[np.float64]


class WordIndex:
    """Which of several texts contain a word."""

    def __init__(self, texts: Iterable[Collection[Word] | Collection[str]]) -> None:
        lists: dict[Word | str, list[int]] = defaultdict(list)
        self.size = 0
        for number, words in enumerate(texts):
            self.size += 1
            for word in words:
                lists[word].append(number)
        self._texts = {word: np.asarray(numbers) for word, numbers in lists.items()}

    def __contains__(self, word: Word | str) -> bool:
        return word in self._texts

    def add(self, scores: Floats, word: Word | str, amount: float) -> None:
        """Add an amount to the scores of the texts that contain a word."""
        if (numbers := self._texts.get(word)) is not None:
            scores[numbers] += amount

    def overlap(self, weights: dict[Word, float] | dict[str, float]) -> Floats:
        """Return, per text, the sum of the weights of the words it contains."""
        scores = np.zeros(self.size)
        for word, amount in weights.items():
            self.add(scores, word, amount)
        return scores

    def has(self, word: Word | str, text: int) -> bool:
        """Return whether a text contains a word."""
        numbers = self._texts.get(word)
        if numbers is None:
            return False
        place = int(np.searchsorted(numbers, text))
        return place < len(numbers) and bool(numbers[place] == text)


class Page:
    """The passages of a topic as windows of whole sentences.

    Args:
        passages: texts; marks of sentences (``<s>``) and line ends separate sentences.
        pieces: splits texts into words.

    Attributes:
        windows: token ids of each window, with [CLS] and [SEP].
        sentence_words: words of each sentence, in their order.
    """

    def __init__(self, passages: tuple[str, ...], pieces: WordPieces) -> None:
        self._pieces = pieces
        self.windows: list[tuple[int, ...]] = []
        self.sentence_words: list[list[Word]] = []
        self._window_words: list[set[Word]] = []
        left = MAX_PAGE_CHARACTERS
        for passage in passages:
            self._add(passage[:left])
            left -= len(passage)
            if left <= 0:
                break
        self.tokens = sum(map(len, self.windows))

    def _add(self, passage: str) -> None:
        """Cut a passage into windows; a sentence is split only if it is too long for one."""
        ids: list[int] = []
        words: set[Word] = set()
        for encoding in self._pieces.encode(list(_sentences(passage))):
            placed = placed_words(encoding)
            new = {item.word for item in placed}
            self.sentence_words.append([item.word for item in placed])
            tokens, taken = encoding.ids, 0
            length = len(tokens)
            if length > WINDOW - 2 - len(ids) and len(ids) > SHORT:
                self._close(ids, words)
                ids, words = [], set()
            while taken < length:
                room = WINDOW - 2 - len(ids)
                ids += tokens[taken : taken + room]
                words |= new
                taken += room
                if taken < length:
                    self._close(ids, words)
                    ids, words = [], set()
        if ids:
            self._close(ids, words)

    def _close(self, ids: list[int], words: set[Word]) -> None:
        self.windows.append((self._pieces.cls, *ids, self._pieces.sep))
        self._window_words.append(words)

    @cached_property
    def in_windows(self) -> WordIndex:
        """Which windows contain a word."""
        return WordIndex(self._window_words)

    @cached_property
    def in_sentences(self) -> WordIndex:
        """Which sentences contain a word."""
        return WordIndex([set(words) for words in self.sentence_words])

    @cached_property
    def stems_in_windows(self) -> WordIndex:
        """Which windows contain a stem."""
        return WordIndex([{self._pieces.stem(word) for word in ws} for ws in self._window_words])

    @cached_property
    def stems_in_sentences(self) -> WordIndex:
        """Which sentences contain a stem."""
        return WordIndex([{self._pieces.stem(word) for word in ws} for ws in self.sentence_words])

    @cached_property
    def pairs(self) -> set[tuple[Word, Word]]:
        """All pairs of neighbouring words."""
        return {pair for words in self.sentence_words for pair in pairwise(words)}

    def choose_windows(self, content: Collection[Word], count: int) -> list[int]:
        """Return the windows that contain most of a fact's content words, the best one first.

        Words that a chosen window contains count for three tenths in the choice of the next one.
        """
        scores = self.in_windows.overlap({word: weight(word) for word in sorted(content)})
        chosen: list[int] = []
        covered: set[Word] = set()
        for _ in range(min(count, len(self.windows))):
            left = scores.copy()
            left[chosen] = -1.0
            best = int(np.argmax(left))
            chosen.append(best)
            for word in sorted(set(content) - covered):
                if self.in_windows.has(word, best):
                    covered.add(word)
                    self.in_windows.add(scores, word, -0.7 * weight(word))
        return chosen


def _sentences(passage: str) -> Iterator[str]:
    """Yield the sentences of a passage."""
    for part in _MARK.split(passage):
        for sentence in _SENTENCE_END.split(part):
            if sentence.strip():
                yield sentence.strip()
