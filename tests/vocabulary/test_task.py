"""The vocabulary of a task: its three filters, what is always in it, and its file."""

import json
from collections import Counter

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.models import ALL, TEXTS
from lacy.corpus import TokenText, encode_texts
from lacy.errors import LacyError
from lacy.testing import byte_tokenizer
from lacy.vocabulary import Vocabulary, task_vocabulary
from lacy.vocabulary.task import drop_rare, keep_frequent
from lacy.vocabulary.tokens import (
    Scripts,
    ids_of_scripts,
    merge_closure,
    merges_of,
    protected_ids,
)

TOKENIZER = ALL["byte_level"]
PAIRS = [
    ("Mara Vell was born in Ulm.", "Ulm"),
    ("Tomas Brill won the Copley Medal.", "Copley Medal, 1921"),
    ("He lived in 東京.", "Αθήνα and 東京"),
    ("", "She studied physics at the University of Zürich."),
]


def ids(text):
    return set(next(encode_texts(TOKENIZER, [text])).ids)


def slowly(pairs, counted, tolerance):
    """The paper's first and third filter, step by step."""
    frequency = Counter()
    for given_text, output in pairs:
        first = next(encode_texts(TOKENIZER, [" " + output])).ids[:1]
        tokens = ids(output) | set(first)
        frequency.update(tokens - ids(given_text) if counted == "new" else tokens)
    kept = {n: f for n, f in frequency.items() if n not in protected_ids(TOKENIZER)}
    ranked = sorted(kept, key=lambda n: (kept[n], -n))
    dropped = 0
    while ranked and sum(kept[n] for n in ranked[: dropped + 1]) <= tolerance * len(pairs):
        if dropped == len(ranked):
            break
        dropped += 1
    return set(ranked[dropped:]) | protected_ids(TOKENIZER)


@pytest.mark.parametrize("counted", ["new", "all"])
@pytest.mark.parametrize("tolerance", [0, 0.3, 1, 3])
def test_filters_equal_the_slow_reference(counted, tolerance):
    found = task_vocabulary(TOKENIZER, PAIRS, counted=counted, tolerance=tolerance)
    assert set(found.ids) == slowly(PAIRS, counted, tolerance)
    assert found.made["examples"] == len(PAIRS)


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 9)), st.floats(0, 40))
def test_what_is_dropped_is_rarest_and_as_much_as_allowed(frequency, most):
    left = drop_rare(frequency, most)
    dropped = {n: f for n, f in frequency.items() if n not in left}
    assert sum(dropped.values()) <= most
    assert max(dropped.values(), default=0) <= min(left.values(), default=99)
    if left:
        assert sum(dropped.values()) + min(left.values()) > most


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 9)), st.integers(0, 60))
def test_what_is_kept_is_most_frequent_and_as_much_as_allowed(frequency, number):
    left = keep_frequent(frequency, number)
    assert len(left) == min(number, len(frequency))
    dropped = [f for n, f in frequency.items() if n not in left]
    assert max(dropped, default=0) <= min(left.values(), default=99)


def test_a_number_of_tokens_limits_the_vocabulary():
    always = len(protected_ids(TOKENIZER))
    every = task_vocabulary(TOKENIZER, PAIRS, counted="all", tolerance=0)
    assert len(every) > always + 3 and every.made["missed"] == 0
    for tokens in (1, always + 3, len(every) + 9):
        found = task_vocabulary(TOKENIZER, PAIRS, counted="all", tolerance=0, tokens=tokens)
        assert len(found) == min(max(always, tokens), len(every))
        assert (found.made["missed"] > 0) == (len(found) < len(every))


def test_an_input_makes_its_tokens_dispensable():
    new = task_vocabulary(TOKENIZER, PAIRS, counted="new", tolerance=0)
    every = task_vocabulary(TOKENIZER, PAIRS, counted="all", tolerance=0)
    assert set(new.ids) < set(every.ids)
    assert 0 < new.made["in_input"] < 1
    assert new.made["in_input"] == every.made["in_input"]
    assert 0 < new.share < every.share < 1


@pytest.mark.parametrize("name", ["byte_level", "byte_level_unigram", "metaspace", "llama2_style"])
def test_special_tokens_and_all_bytes_are_always_in(name):
    tokenizer = ALL[name]
    kept = set(task_vocabulary(tokenizer, [("", "Ulm")], tolerance=0).ids)
    text = TokenText(tokenizer)
    assert {text.bytes_of(n) for n in kept} >= {bytes([n]) for n in range(256)}
    assert {*tokenizer.all_special_ids, len(tokenizer) - 1} <= kept


def test_scripts_leave_out_tokens_of_other_scripts():
    kept = set(task_vocabulary(TOKENIZER, PAIRS, scripts=["Latin"], tolerance=0).ids)
    text = TokenText(TOKENIZER)
    for number in kept - protected_ids(TOKENIZER):
        characters = text.bytes_of(number).decode("utf-8", "replace")
        assert not regex.search(r"\p{Han}|\p{Greek}", characters)
    every = set(task_vocabulary(TOKENIZER, PAIRS, tolerance=0).ids)
    assert kept < every


def test_parts_of_characters_stay_if_a_character_of_the_scripts_needs_them():
    vocabulary, merges = TOKENIZER.get_vocab(), merges_of(TOKENIZER)
    latin = ids_of_scripts(TOKENIZER, ["Latin"])
    names = set(TOKENIZER.convert_ids_to_tokens(sorted(latin)))
    assert merge_closure(names, merges, vocabulary) == names
    text, scripts = TokenText(TOKENIZER), Scripts(["Latin"])
    whole = {n for n in range(len(TOKENIZER)) if scripts.allow(text.bytes_of(n))}
    assert whole <= latin


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("Łódź, 1921!", True), ("e\u0301", True), ("東京", False), ("Latin Αθήνα", False), ("", True)],
)
def test_signs_and_accents_belong_to_every_script(text, allowed):
    assert Scripts(["Latin"]).allow(text.encode()) is allowed


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(LacyError, match=r"E273.*did you mean 'Latin'"):
        task_vocabulary(TOKENIZER, PAIRS, scripts=["latim"])
    with pytest.raises(LacyError, match=r"E272.*texts.jsonl"):
        task_vocabulary(TOKENIZER, [("a", "")], where="texts.jsonl")
    with pytest.raises(LacyError, match=r"E12.*counted"):
        task_vocabulary(TOKENIZER, PAIRS, counted="some")
    with pytest.raises(LacyError, match=r"(?s)E13.*lacy vocabulary build"):
        Vocabulary.load(tmp_path / "none.json")


def test_a_file_gives_the_same_vocabulary_back(tmp_path):
    found = task_vocabulary(TOKENIZER, PAIRS, scripts=["Latin", "Han"])
    found.save(tmp_path / "task.json")
    assert Vocabulary.load(tmp_path / "task.json", TOKENIZER) == found
    with pytest.raises(LacyError, match="E271"):
        Vocabulary.load(tmp_path / "task.json", byte_tokenizer())


@settings(max_examples=30)
@given(st.sampled_from(["format", "size", "tokenizer", "made", "ids"]), st.data())
def test_damaged_files_are_refused(tmp_path_factory, key, data):
    path = tmp_path_factory.mktemp("v") / "task.json"
    task_vocabulary(TOKENIZER, PAIRS).save(path)
    content = json.loads(path.read_text())
    if data.draw(st.booleans()):
        del content[key]
    else:
        content[key] = data.draw(st.sampled_from([None, [3, 1], [5, 5], "x", [-1]]))
    path.write_text(json.dumps(content))
    if content.get(key) == "x" and key == "tokenizer":
        with pytest.raises(LacyError, match="E271"):
            Vocabulary.load(path, TOKENIZER)
        return
    with pytest.raises(LacyError, match=r"E27[01]"):
        Vocabulary.load(path, TOKENIZER)


def test_texts_of_the_task_are_covered():
    vocabulary = task_vocabulary(TOKENIZER, [("", text) for text in TEXTS], tolerance=0)
    assert all(ids(text) <= set(vocabulary.ids) for text in TEXTS)
