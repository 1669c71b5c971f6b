"""Depths beyond the row: the training starts from the fitted row and is measured on others."""

import json

import numpy as np
import pytest
import torch

from lacy.annotate import encode
from lacy.errors import LacyError
from lacy.model import gate_of, load_model
from lacy.tune import tune
from lacy.tune.misses import calls_due, first_mentions
from lacy.tune.shared import Labelled
from lacy.tune.states import read_states
from lacy.tune.training import only_due
from lacy.types import MarkFlag


@pytest.mark.parametrize("depth", ["lora", "last=1", "full"])
def test_a_deeper_tuning(depth, raw_folder, articles, tmp_path):
    result = tune(raw_folder, articles, out=tmp_path / "out", depth=depth, device="cpu", threads=1)
    loaded = load_model(tmp_path / "out")
    assert gate_of(loaded.model) == "sigmoid"
    meta = loaded.meta["tune"]
    assert meta["depth"] == depth and loaded.meta["training"]["settings"]["depth"] == depth
    figures = result.figures
    assert list(figures.target)[:2] == ["gate", "row alone"]
    assert figures.articles == 5  # a fifth of 24 is held out
    head_VD = loaded.model.get_output_embeddings().weight.detach().numpy()
    np.testing.assert_allclose(head_VD[-1], result.row_D, rtol=1e-6)
    before = load_model(raw_folder).model.model.layers[-1].mlp.up_proj.weight
    assert not torch.equal(before, loaded.model.model.layers[-1].mlp.up_proj.weight)
    assert (
        json.loads((tmp_path / "out" / "model" / "tune.json").read_text())["seconds"]["Train"] > 0
    )


def test_an_unknown_depth(raw_folder, articles, tmp_path):
    with pytest.raises(LacyError) as caught:
        tune(raw_folder, articles, out=tmp_path / "out", depth="lore")
    assert caught.value.code == "E12" and "lora" in caught.value.do


def test_too_few_articles_to_hold_some_out(raw_folder, articles, tmp_path):
    with pytest.raises(LacyError) as caught:
        tune(raw_folder, articles[:10], out=tmp_path / "out", depth="lora")
    assert caught.value.code == "E162"


def test_marks_for_training_begin_only_where_a_call_is_due(raw_folder, articles, tmp_path):
    loaded = load_model(raw_folder)
    encoded = [encode(document, loaded.tokenizer, 60) for document in articles[:4]]
    table, _ = read_states(
        loaded.model.eval(), encoded, tmp_path, fingerprint="f", bf16=False, progress=False
    )
    first_N = first_mentions(encoded, loaded.tokenizer)
    due_N = calls_due("miss", table, first_N, None, 0.22)
    due_N[np.flatnonzero(due_N)[::2]] = False
    changed = only_due(encoded, Labelled(table, due_N, due_N))
    marks = np.concatenate([np.asarray(a.marks[1:], np.uint8) for a in changed])
    np.testing.assert_array_equal((marks & MarkFlag.START) > 0, due_N)
    keep = np.uint8(0xFF ^ MarkFlag.START)
    np.testing.assert_array_equal(marks & keep, table.marks_N & keep)
    assert all(a.input_ids == b.input_ids for a, b in zip(changed, encoded, strict=True))
