"""Pages as windows of whole sentences, words by pieces, and features of facts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lacy.judges import VERIFIER
from lacy.judges.features import FEATURES, fact_features, fact_words, topic_words
from lacy.judges.inputs import FACT_TOKENS, fact_input
from lacy.judges.pages import MAX_PAGE_CHARACTERS, WINDOW, Page, WordIndex
from lacy.judges.pieces import CONTENT, WordPieces, placed_words, weight

PAGE = (
    "<s>Mira Okafor (born 4 May 1951 in Lagos) is a Nigerian chemist.</s><s>She studied.</s>",
    "Okafor married the painter Tunde Bello in 1979.",
)


@pytest.fixture(scope="module")
def pieces():
    return WordPieces(Tokenizer.from_file(str(VERIFIER / "tokenizer.json")))


def word(pieces, text):
    [placed] = placed_words(pieces.encode([text])[0])
    return placed.word


def prepared(pieces, text, page=PAGE, topic="Mira Okafor"):
    read = Page(page, pieces)
    named = topic_words(topic, pieces)
    fact = fact_words(text, pieces.encode([text])[0], named, pieces)
    values = dict(zip(FEATURES, fact_features(fact, read, pieces), strict=True))
    return values, fact_input(fact, named, read, pieces), read


def test_words_are_whole_and_without_case(pieces):
    placed = placed_words(pieces.encode(["Okafor, an IMMUNOLOGIST!"])[0])
    assert [pieces.text_of(p.word) for p in placed] == ["okafor", ",", "an", "immunologist", "!"]
    assert placed[0].end == placed[1].start == len(placed[0].word)


def test_rare_words_weigh_more(pieces):
    the, city, zinc = (weight(word(pieces, text)) for text in ("the", "city", "zinc"))
    assert the < CONTENT < city < zinc < weight(word(pieces, "immunohistochemistry"))
    assert weight(word(pieces, ",")) == 0
    assert pieces.stem(word(pieces, "painter")) == pieces.stem(word(pieces, "painted"))


def test_windows_hold_whole_sentences(pieces):
    sentences = [f"Sentence {n} has some words about the town of Kiel." for n in range(40)]
    page = Page((" ".join(sentences),), pieces)
    assert all(len(window) <= WINDOW for window in page.windows)
    assert len(page.sentence_words) == 40
    begun = {window[1:3] for window in page.windows}
    assert begun <= {tuple(pieces.encode([s])[0].ids[:2]) for s in sentences}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=400), max_size=4))
def test_no_token_of_a_page_is_lost(passages):
    pieces = WordPieces(Tokenizer.from_file(str(VERIFIER / "tokenizer.json")))
    page = Page(tuple(passages), pieces)
    inside = list(itertools.chain.from_iterable(window[1:-1] for window in page.windows))
    words = [piece for sentence in page.sentence_words for word in sentence for piece in word]
    assert inside == words
    assert all(0 < len(window) <= WINDOW for window in page.windows)


def test_a_word_index_equals_sets():
    rng = np.random.default_rng(0)
    texts = [set(rng.integers(0, 20, 6).tolist()) for _ in range(9)]
    texts = [{(n,) for n in text} for text in texts]
    weights = {(n,): n / 7 for n in range(25)}
    index = WordIndex(texts)
    want = [sum(value for w, value in weights.items() if w in text) for text in texts]
    assert index.overlap(weights) == pytest.approx(want)
    for w, number in itertools.product(weights, range(9)):
        assert index.has(w, number) == (w in texts[number])


def test_the_best_window_comes_first_and_the_next_adds_words(pieces):
    filler = "Nothing much of note was ever said there by anybody at all in those years. " * 8
    parts = ["The chemist lived in Lagos.", "A chemist worked.", "He painted zebras."]
    page = Page(tuple(f"{part} {filler}" for part in parts), pieces)
    content = [word(pieces, text) for text in ("chemist", "lagos", "zebras")]
    first, second, *_ = page.choose_windows(content, 3)
    assert page.in_windows.has(content[1], first)
    assert page.in_windows.has(content[2], second)


def test_features_of_a_supported_and_of_a_wrong_fact(pieces):
    right, _, _ = prepared(pieces, "Mira Okafor was born on 4 May 1951.")
    wrong, _, _ = prepared(pieces, "Mira Okafor was born on 9 June 1962.")
    assert (right["best sentence"], right["years missing"], right["months missing"]) == (1, 0, 0)
    assert (wrong["years missing"], wrong["months missing"]) == (1, 1)
    assert wrong["days missing in the best sentence"] == 1
    assert wrong["best sentence"] < right["best sentence"]
    assert right["says born"] == 1 and right["negations"] == 0
    negated, _, _ = prepared(pieces, "Mira Okafor never was a painter.")
    assert negated["negations"] == 1


def test_flags_tell_where_a_word_occurs(pieces):
    _, fact, _ = prepared(pieces, "Okafor was a painting chemist in Paris.")
    ids = [
        pieces.cls,
        *pieces.encode(["Okafor was a painting chemist in Paris."])[0].ids,
        pieces.sep,
    ]
    assert list(fact.ids) == ids and len(fact.flags) == len(ids)
    placed = placed_words(pieces.encode(["Okafor was a painting chemist in Paris."])[0])
    flags = [fact.flags[p.start + 1] for p in placed]
    assert flags == [1, 5, 2, 4, 2, 2, 5, 2]
    assert fact.flags[0] == fact.flags[-1] == 0


def test_long_facts_and_pages_are_cut(pieces):
    _, fact, _ = prepared(pieces, "word " * 3_000)
    assert len(fact.ids) == FACT_TOKENS
    page = Page(("x " * MAX_PAGE_CHARACTERS,), pieces)
    assert page.tokens < 1.1 * MAX_PAGE_CHARACTERS / 2
