"""MinHash finds what an exact comparison of all pairs finds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.clean import NearDuplicates
from lacy.clean.near import word_ngrams
from lacy.errors import LacyError


def similarity(one, other, words=5):
    a, b = set(word_ngrams(one, words)), set(word_ngrams(other, words))
    return len(a & b) / len(a | b)


def article(chance, length=200):
    return [f"w{chance.randrange(400)}" for _ in range(length)]


def edited(words, chance, changes):
    words = list(words)
    for place in chance.sample(range(len(words)), changes):
        words[place] = f"x{chance.randrange(400)}"
    return words


def test_pairs_far_from_the_threshold_are_told_as_by_an_exact_comparison():
    chance, wrong, far = random.Random(0), 0, {True: 0, False: 0}
    for changes in (0, 1, 1, 2, 10, 15, 20, 50) * 20:
        one = article(chance)
        first, second = " ".join(one), " ".join(edited(one, chance, changes))
        exact = similarity(first, second)
        if abs(exact - 0.8) < 0.1:
            continue  # three standard errors of 128 values
        known = NearDuplicates(0.8)
        known.first_like(first)
        wrong += (known.first_like(second) is not None) != (exact >= 0.8)
        far[exact >= 0.8] += 1
    assert min(far.values()) >= 40
    assert wrong <= 1


def test_the_first_kept_text_is_named():
    chance = random.Random(1)
    texts = [" ".join(article(chance)) for _ in range(50)]
    known = NearDuplicates()
    assert [known.first_like(text) for text in texts] == [None] * 50
    assert [known.first_like(text.upper() + "!") for text in texts] == [*range(50)]
    assert known.first_like("entirely new words are here") is None
    assert known.first_like("Entirely new words are here.") == 50  # copies are not kept


def test_texts_without_words_are_like_no_other():
    known = NearDuplicates()
    assert [known.first_like(text) for text in ("...", "...", "!", "word", "word")] == [
        None, None, None, None, 3,
    ]  # fmt: skip


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 6))
def test_sequences_are_those_of_a_slow_window(words, length):
    found = word_ngrams(" ".join(words), length)
    slow = [" ".join(words[n : n + length]) for n in range(len(words))]
    full = [one for one in slow if one.count(" ") == length - 1]
    assert found == (full or ([" ".join(words)] if words else []))


def test_characters_are_the_words_of_chinese_and_japanese():
    assert word_ngrams("東京は日本", 3) == ["東 京 は", "京 は 日", "は 日 本"]
    assert word_ngrams("iPhone 15を買う", 2) == ["iphone 15", "15 を", "を 買", "買 う"]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, float("nan")])
def test_a_similarity_is_above_0_and_up_to_1(wrong):
    with pytest.raises(LacyError, match=r"E12.*near"):
        NearDuplicates(wrong)
    with pytest.raises(LacyError, match=r"E12.*words"):
        NearDuplicates(words=0)
