"""What words, names and numbers alone say about whether a page supports a fact."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lacy._text import MONTHS
from lacy.judges.pages import Page, WordIndex
from lacy.judges.pieces import CONTENT, PlacedWord, Word, WordPieces, placed_words, weight

MAX_FACT_WORDS = 400
"""Only this many words of a fact are compared: an atomic fact has about ten."""

PAGE_TOKENS = (100, 20_000)
"""Lengths of a page, in tokens, between which its length counts; labelled pages are as long."""

FEATURES = (
    "best window", "page", "best sentence", "best window, words", "best window, stems",
    "page, stems", "best sentence, stems", "weight missing in the best window",
    "weight missing on the page", "heaviest word missing on the page", "word pairs", "numbers",
    "numbers on the page", "numbers in the best sentence", "years", "years missing",
    "months missing", "days missing in the best sentence", "names", "names on the page",
    "names in the best window", "negations", "words", "content words", "length of the page",
    "says born", "says known", "second window", "rare words", "three windows", "says is or was",
    "one content word", "other year", "other number", "other month", "best place",
    "numbers in the best place",
)  # fmt: skip
"""Names of the values of ``fact_features``. Where a part of the page is named, the value is the
share of the fact's content words that it contains, by weight unless it says otherwise. The best
place is the sentence that contains most of the fact without its numbers and months; if it states
other ones than the fact, they probably contradict it."""

_YEAR = re.compile(r"1[0-9]{3}|20[0-9]{2}")
_MONTHS = frozenset(month.lower() for month in MONTHS)
_NEGATIONS = frozenset(("not", "never", "no", "without"))


@dataclass(frozen=True, slots=True)
class FactWords:
    """The words of a fact.

    Attributes:
        text: the fact.
        encoding: its tokens, without special tokens.
        placed: its words.
        content: its content words without those of the topic's name, in their order.
        names: those of them that have a capital letter and do not begin the fact.
    """

    text: str
    encoding: Encoding
    placed: list[PlacedWord]
    content: tuple[Word, ...]
    names: frozenset[Word]


def topic_words(topic: str, pieces: WordPieces) -> frozenset[Word]:
    """Return the words of a topic's name."""
    return frozenset(item.word for item in placed_words(pieces.encode([topic])[0]))


def fact_words(
    text: str, encoding: Encoding, topic: Collection[Word], pieces: WordPieces
) -> FactWords:
    """Find the content words and names of a fact."""
    placed = placed_words(encoding)[:MAX_FACT_WORDS]
    content, names = [], set()
    for number, (word, start, _) in enumerate(placed):
        if word in topic or weight(word) < CONTENT:
            continue
        content.append(word)
        if number and text[encoding.offsets[start][0]].isupper():
            names.add(word)
    return FactWords(text, encoding, placed, tuple(dict.fromkeys(content)), frozenset(names))


def fact_features(fact: FactWords, page: Page, pieces: WordPieces) -> NDArray[np.float64]:
    """Return the values named in ``FEATURES``."""
    weights = {word: weight(word) for word in fact.content}
    total = sum(weights.values())
    words = [pieces.text_of(item.word) for item in fact.placed]
    windows, sentences = page.in_windows, page.in_sentences
    in_windows = np.sort(windows.overlap(weights))[::-1]
    in_sentences = sentences.overlap(weights)
    sentence = int(np.argmax(in_sentences))
    counts = windows.overlap(dict.fromkeys(weights, 1.0))
    window = int(np.argmax(counts))
    stems = {pieces.stem(word): value for word, value in weights.items()}
    stem_total = sum(stems.values())
    missing = [
        value
        for word, value in weights.items()
        if word not in windows and pieces.stem(word) not in page.stems_in_windows
    ]
    letters = {word: pieces.text_of(word) for word in weights}
    numbers = [word for word, text in letters.items() if text[0].isdigit()]
    years = [word for word in numbers if _YEAR.fullmatch(letters[word])]
    months = [word for word, text in letters.items() if text in _MONTHS]
    days = [word for word in numbers if len(letters[word]) <= 2]
    names = [word for word in weights if word in fact.names and letters[word] not in _MONTHS]
    in_fact = [item.word for item in fact.placed]
    pairs = [pair for pair in pairwise(in_fact) if pair[0] in weights or pair[1] in weights]

    def share(value: float, of: float) -> float:
        return value / of if of else 1.0

    def on_page(wanted: list[Word]) -> float:
        return share(sum(word in windows for word in wanted), len(wanted))

    def inside(wanted: list[Word], index: WordIndex, text: int) -> int:
        return sum(index.has(word, text) for word in wanted)

    place, near = _best_place(weights, numbers + months, page, pieces)
    stated = {pieces.text_of(word) for word in page.sentence_words[place]}

    def other(mine: list[Word], theirs: set[str]) -> bool:
        return bool(mine and theirs) and not any(letters[word] in theirs for word in mine)

    stemmed = {index: index.overlap(stems).max() for index in _stem_indexes(page)}
    return np.array([
        share(in_windows[0], total),
        share(sum(value for word, value in weights.items() if word in windows), total),
        share(in_sentences[sentence], total),
        share(counts[window], len(weights)),
        share(stemmed[page.stems_in_windows], stem_total),
        share(sum(v for stem, v in stems.items() if stem in page.stems_in_windows), stem_total),
        share(stemmed[page.stems_in_sentences], stem_total),
        total - in_windows[0],
        sum(missing),
        max(missing, default=0.0),
        share(sum(pair in page.pairs for pair in pairs), len(pairs)),
        len(numbers),
        on_page(numbers),
        share(inside(numbers, sentences, sentence), len(numbers)),
        len(years),
        sum(word not in windows for word in years),
        sum(word not in windows for word in months),
        len(days) - inside(days, sentences, sentence),
        len(names),
        on_page(names),
        share(inside(names, windows, window), len(names)),
        sum(word in _NEGATIONS for word in words),
        min(len(words), 60),
        min(len(weights), 30),
        math.log(min(max(page.tokens, PAGE_TOKENS[0]), PAGE_TOKENS[1])),
        "born" in words,
        "known" in words or "famous" in words,
        share(in_windows[1], total) if len(in_windows) > 1 else 0.0,
        share(sum(len(word) > 1 for word in weights), len(weights)),
        share(in_windows[:3].sum(), total),
        "is" in words or "was" in words,
        len(weights) == 1,
        other(years, {text for text in stated if _YEAR.fullmatch(text)}),
        other(numbers, {text for text in stated if text[0].isdigit()}),
        other(months, stated & _MONTHS),
        near,
        share(sum(letters[word] in stated for word in numbers), len(numbers)),
    ], dtype=np.float64)  # fmt: skip


def _best_place(
    weights: dict[Word, float], numbers: list[Word], page: Page, pieces: WordPieces
) -> tuple[int, float]:
    """Return the sentence that contains most of a fact without its numbers, and its share.

    A word of which only the stem occurs counts half.
    """
    rest = {word: value for word, value in weights.items() if word not in numbers}
    scores = page.in_sentences.overlap({word: value / 2 for word, value in rest.items()})
    for word, value in rest.items():
        page.stems_in_sentences.add(scores, pieces.stem(word), value / 2)
    if not rest:
        return int(np.argmax(page.in_sentences.overlap(weights))), 0.0
    place = int(np.argmax(scores))
    return place, float(scores[place]) / sum(rest.values())


def fact_phrases(fact: FactWords, pieces: WordPieces) -> frozenset[str]:
    """Return the words of a fact and their pairs; "numerous films" is rarely contradicted."""
    words = [pieces.text_of(item.word) for item in fact.placed]
    return frozenset(words) | {f"{first} {second}" for first, second in pairwise(words)}


def _stem_indexes(page: Page) -> tuple[WordIndex, WordIndex]:
    return page.stems_in_windows, page.stems_in_sentences
