"""Losses, differences and the page of a compression, against slow references."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.articles import article
from helpers.models import byte_level, llama
from lacy.compress import (
    FACTS,
    OTHERS,
    CompressPlan,
    MeasureSettings,
    StageMeasured,
    Sums,
    measure_stage,
    stage_row,
)
from lacy.compress.running import Stage
from lacy.report import STAGE_COLUMNS, stage_cells
from lacy.results import Score

PLAN = CompressPlan(measure=MeasureSettings(texts=4, tokens=64, subjects=0, speed=False))


@pytest.fixture(scope="module")
def loaded():
    from lacy.model import Loaded

    found = llama(byte_level())
    return Loaded(found.model, found.tokenizer)


def test_losses_are_those_of_each_token_by_its_mark(loaded):
    documents = [article(number) for number in range(4)]
    measured = measure_stage(loaded, documents, PLAN)
    for number, document in enumerate(documents):
        nats = dict.fromkeys((OTHERS, FACTS), 0.0)
        size = dict.fromkeys((OTHERS, FACTS), 0)
        encoded = loaded.tokenizer(
            document.text, add_special_tokens=False, return_offsets_mapping=True
        )
        ids = torch.tensor([[0, *encoded["input_ids"]]])
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, :-1, :-1]  # the last entry is <CALL>
        losses = -logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        for loss, (start, end) in zip(losses.tolist(), encoded["offset_mapping"], strict=True):
            touched = any(start < m.end and end > m.start for m in document.marks)
            nats[FACTS if touched else OTHERS] += loss
            size[FACTS if touched else OTHERS] += len(document.text[start:end].encode())
        for tokens in (OTHERS, FACTS):
            pair = measured.texts.pair(f"nats_{tokens}", f"bytes_{tokens}")
            assert pair[0][number] == pytest.approx(nats[tokens], rel=1e-5)
            assert pair[1][number] == size[tokens]


def stage(nats, right, *, kind="gguf", size=50, auroc=0.9):
    """A stage with these sums; 25 parameters."""
    n = len(nats)
    texts = Sums(
        tuple(map(str, range(n))),
        {
            "nats_others": np.asarray(nats, float), "bytes_others": np.full(n, 10.0),
            "nats_facts": np.asarray(nats, float) * 2, "bytes_facts": np.full(n, 5.0),
        },
    )  # fmt: skip
    openings = Sums(
        tuple(map(str, range(len(right)))),
        {"completed": np.asarray(right, float), "openings": np.full(len(right), 3.0)},
    )
    scores = {
        "parameters": Score(25.0, math.nan, math.nan, 1, "parameters"),
        "auroc_margin_start": Score(auroc, auroc - 0.01, auroc + 0.01, n, "AUROC"),
        "openings_right": Score(float(np.sum(right)) / (3 * len(right)), 0.1, 0.9, 3, "share"),
    }
    measured = StageMeasured(scores, texts, openings)
    return Stage(kind, kind, SimpleNamespace(), size, {}, measured)


def test_a_row_is_the_difference_over_the_same_texts():
    before = stage([10, 20, 30], [3, 0, 3], kind="original", size=100)
    after = stage([11, 22, 33], [3, 0, 0], auroc=0.88)
    row = stage_row(before, after)
    assert row.loss_off_facts.value == pytest.approx(0.1)
    assert (row.loss_off_facts.low, row.loss_off_facts.high) == pytest.approx((0.1, 0.1))
    assert row.loss_on_facts.value == pytest.approx(0.1)
    assert row.right_change.value == pytest.approx(-3 / 9)
    assert row.auroc_change == pytest.approx(-0.02)
    assert row.ratio == 2.0  # 25 weights of 4 bytes are 100 bytes


def test_texts_that_only_one_side_has_are_left_out():
    before, after = stage([10, 20, 30], [3], kind="original"), stage([11, 22], [3])
    assert stage_row(before, after).loss_off_facts.value == pytest.approx(0.1)


def test_what_is_stored_is_read_back_exactly():
    measured = stage([10, 20.5, 30], [3, 0]).measured
    again = StageMeasured.from_data(measured.to_data())
    assert again.to_data() == measured.to_data()


def test_cells_say_what_is_missing():
    before = stage([10, 20], [3], kind="original")
    after = stage([11, 22], [3])
    measured = replace(after.measured, openings=None, scores={
        "parameters": after.measured.scores["parameters"],
    })  # fmt: skip
    row = stage_row(before, replace(after, measured=measured))
    cells = dict(zip(STAGE_COLUMNS, stage_cells(row), strict=True))
    assert cells["loss off facts"] == "+10.00% [+10.00, +10.00]"
    assert cells["AUROC of calls"] == cells["facts right with calls"] == "–"
    assert cells["tokens per second"] == cells["peak memory"] == "–"
