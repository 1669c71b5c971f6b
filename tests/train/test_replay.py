"""Replay: the rows of general texts in the batches, and what is measured on them."""

import json

import numpy as np
import pytest

from helpers import models
from lacy.annotate import encode
from lacy.corpus import BatchOrder, PackedData
from lacy.errors import LacyError
from lacy.model import save_model
from lacy.run import read_metrics
from lacy.train import TrainConfig, train
from lacy.train.mixing import Mixture
from lacy.types import Document
from lacy.world import make_world

TOKENIZER = models.ALL["byte_level"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("replay")
    own = [encode(d, TOKENIZER) for d in make_world(12, 0).documents("train")]
    text = " ".join(models.TEXTS[:3])
    general = [encode(Document(id=str(n), text=text), TOKENIZER) for n in range(9)]
    for name, documents, context in (("own", own[:12], 48), ("general", general, 48),
                                     ("long", general, 64)):  # fmt: skip
        PackedData.write(documents, TOKENIZER, context, root / name)
    made = models.llama(TOKENIZER)
    save_model(root / "model", made.model, TOKENIZER)
    return root


@pytest.mark.parametrize(("batch", "share"), [(8, 0.25), (4, 0.1), (6, 0.5), (5, 0.3)])
def test_every_row_comes_once_and_the_share_holds(packed, batch, share):
    own, general = PackedData.load(packed / "own"), PackedData.load(packed / "general")
    mixture = Mixture(own, BatchOrder(len(own), batch, 3), general, share)
    steps = 40
    seen = [mixture.numbers(step) for step in range(steps)]
    masks = np.concatenate([mask for mask, _ in seen])
    assert masks.sum() == int(steps * batch * share + 1e-9)
    counts = [int(mask.sum()) for mask, _ in seen]
    assert max(counts) - min(counts) <= 1
    rows = np.concatenate([rows for _, rows in seen])
    for data, mine in ((own, rows[~masks]), (general, rows[masks])):
        whole = len(mine) // len(data) * len(data)
        first = mine[:whole].reshape(-1, len(data))
        assert (np.sort(first, axis=1) == np.arange(len(data))).all()
    assert mixture.epoch(steps) == pytest.approx((~masks).sum() / len(own), abs=0.1)


def test_the_columns_are_those_of_the_rows(packed):
    own, general = PackedData.load(packed / "own"), PackedData.load(packed / "general")
    mixture = Mixture(own, BatchOrder(len(own), 6, 0), general, 0.5)
    mask, rows = mixture.numbers(2)
    columns = mixture.columns(mask, rows)
    for place, (replayed, row) in enumerate(zip(mask, rows, strict=True)):
        single = (general if replayed else own).batch([row])
        for name, part in single.items():
            assert (columns[name][place] == part[0]).all()


@pytest.fixture
def settings(packed, tmp_path):
    return {"data": packed / "own", "model": str(packed / "model"), "out": tmp_path / "run",
            "depth": "last=1", "steps": 4, "batch_rows": 4, "call_rate": 0.05, "log_every": 1,
            "save_minutes": 0.0, "dtype": "fp32", "device": "cpu", "quiet": True,
            "replay": packed / "general", "replay_share": 0.25,
            "valid_general": packed / "general"}  # fmt: skip


def test_a_run_replays_and_reports_what_is_forgotten(settings, tmp_path):
    out = train(TrainConfig(**settings)).out
    rows = read_metrics(out / "metrics.jsonl")
    measured = {row["step"]: row["general_loss"] for row in rows if "general_loss" in row}
    assert list(measured) == [0, 4] and measured[0] != measured[4]
    reasons = json.loads((out / "environment.json").read_text())["reasons"]
    assert any("25% of the rows are general texts" in r and "no marks" in r for r in reasons)
    assert "general loss" in (out / "README.md").read_text()
    again = {**settings, "out": tmp_path / "plain", "replay": None}
    plain = read_metrics(train(TrainConfig(**again)).out / "metrics.jsonl")
    assert [r["loss"] for r in plain if "loss" in r] != [r["loss"] for r in rows if "loss" in r]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"replay_share": 1.0}, "E45", "share above 0 and below 1"),
        ({"replay": "long"}, "E45", "has rows of 64 tokens"),
        ({"replay": "nothing"}, "E13", "lacy data mark"),
    ],
)
def test_mistakes_are_explained(packed, settings, changes, code, words):
    if "replay" in changes:
        changes = {"replay": packed / changes["replay"]}
    with pytest.raises(LacyError) as caught:
        train(TrainConfig(**{**settings, **changes}))
    assert caught.value.code == code and words in str(caught.value)
