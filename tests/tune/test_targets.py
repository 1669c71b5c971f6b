"""Where calls are due: value starts, misses found by letting the model write, high losses."""

import numpy as np
import pytest
import torch

from helpers.models import REAL
from lacy.annotate import encode
from lacy.model import load_model
from lacy.tune import tune
from lacy.tune.misses import calls_due, first_mentions, value_spans
from lacy.tune.states import read_states
from lacy.tune.written_values import continuations, written_wrong
from lacy.types import Document, Mark, MarkFlag


def greedy(model, ids, length):
    """One forward pass over the whole text per token."""
    ids = list(ids)
    for _ in range(length):
        with torch.inference_mode():
            logits_V = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1, :-1]
        ids.append(int(logits_V.argmax()))
    return ids[-length:]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_continuations_equal_one_text_at_a_time(family):
    model, tokenizer = REAL[family].model, REAL[family].tokenizer
    ids = tokenizer.encode("Mara Vell was born in Ulm on 12 March 1879. She studied physics.")
    places = [3, 1, 11, len(ids), 7]
    found = continuations(model, ids, places, 6)
    assert found == [greedy(model, ids[:place], 6) for place in places]


def marked(text, *values):
    marks, at = [], 0
    for value in values:
        at = text.index(value, at)
        marks.append(Mark(at, at + len(value), "ENTITY"))
        at += len(value)
    return Document("a", text, {}, tuple(marks))


def test_only_the_first_mention_of_a_value_counts(raw_folder):
    tokenizer = load_model(raw_folder).tokenizer
    text = "He lived in Rome, then Ulm, then Rome again, in Ulmen and in ulm."
    article = encode(marked(text, "Rome", "Ulm", "Rome", "Ulmen", "ulm"), tokenizer)
    first = first_mentions([article], tokenizer)
    values = {}
    for start, end in value_spans(article.marks):
        values[start, tokenizer.decode(article.input_ids[start:end])] = bool(first[start - 1])
    assert [name for _, name in values] == ["Rome", "Ulm", "Rome", "Ulmen", "ulm"]
    assert list(values.values()) == [True, True, False, True, False]


def test_adjacent_values_are_separate():
    start, fact = int(MarkFlag.START | MarkFlag.FACT), int(MarkFlag.FACT)
    assert value_spans([0, start, fact, start, 0, fact, start]) == [(1, 3), (3, 4), (6, 7)]


def test_targets(raw_folder, articles, tmp_path):
    loaded = load_model(raw_folder)
    encoded = [encode(document, loaded.tokenizer, 60) for document in articles[:6]]
    table, _ = read_states(
        loaded.model.eval(), encoded, tmp_path, fingerprint="f", bf16=False, progress=False
    )
    first_N = first_mentions(encoded, loaded.tokenizer)
    where_N = calls_due("where", table, first_N, None, 0.22)
    np.testing.assert_array_equal(where_N, (table.marks_N & MarkFlag.START) > 0)
    wrong_N = written_wrong(
        loaded.model, encoded, loaded.tokenizer, tmp_path, fingerprint="f", bf16=False
    )
    assert not wrong_N[~where_N].any()
    miss_N = calls_due("miss", table, first_N, wrong_N, 0.22)
    np.testing.assert_array_equal(miss_N, where_N & first_N & wrong_N)
    value_N = calls_due("value", table, first_N, None, 0.1)
    assert value_N.sum() == round(0.1 * len(table))
    assert not value_N[~table.is_fact].any()
    assert table.loss_N[value_N].min() >= table.loss_N[table.is_fact & ~value_N].max()


def test_a_value_that_the_model_writes_is_no_miss(raw_folder, tmp_path):
    loaded = load_model(raw_folder)
    for number in range(500):  # until the random model continues a text by a letter or digit
        before = f"Mara Vell {number} was born in "
        ids = [0, *loaded.tokenizer.encode(before, add_special_tokens=False)]
        own = loaded.tokenizer.decode(greedy(loaded.model, ids, 1))
        if own.isascii() and own.isalnum():
            break
    else:
        raise AssertionError("no text found")
    for value, expected in ((own, False), ("%" + own, True)):
        text = before + value
        document = Document("a", text, {}, (Mark(len(before), len(text), "ENTITY"),))
        wrong_N = written_wrong(
            loaded.model, [encode(document, loaded.tokenizer)], loaded.tokenizer, tmp_path,
            fingerprint=value, bf16=False,
        )  # fmt: skip
        assert bool(wrong_N.any()) == expected


@pytest.mark.parametrize("target", ["miss", "value"])
def test_a_tuning_with_another_target(target, raw_folder, articles, tmp_path):
    result = tune(raw_folder, articles, out=tmp_path / "out", target=target)
    figures = result.figures
    assert load_model(tmp_path / "out").meta["tune"]["target"] == target
    assert figures.due > 0
    if target == "miss":
        assert figures.due == figures.misses <= figures.starts
    else:
        assert figures.due == round(0.22 * figures.tokens)
