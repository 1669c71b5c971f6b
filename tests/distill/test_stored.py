"""Stored predictions equal those of the teacher, are computed once, and are never mistaken."""

import numpy as np
import pytest
import torch

from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.distill import DistillLoss, DistillSettings, LiveTeacher, StoredTeacher, store_teacher
from lacy.distill import stored as module
from lacy.errors import LacyError
from lacy.objective import Objective
from lacy.train import FitState, MicroBatch

CPU = torch.device("cpu")


def micro(packed, rows):
    return MicroBatch.of(packed.batch(rows), CPU, rows=list(rows))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 3)


@pytest.mark.usefixtures("small_blocks")
def test_they_are_the_likeliest_tokens_and_the_rest(packed, teacher, tmp_path):
    found = store_teacher(teacher, packed, tmp_path / "s", top=5, temperature=2.0)
    assert found.temperature == 2.0
    batch = micro(packed, [7, 2, 3])
    rows = torch.arange(batch.ids_BT.numel())
    logq, ids = found.predict(batch, torch.float32).chunk(rows)
    full = LiveTeacher(teacher.model, 2.0).predict(batch, torch.float32).chunk(rows).logq_nM
    assert ids.shape == (len(rows), 5) and logq.shape == (len(rows), 6)
    torch.testing.assert_close(logq.exp().sum(1), torch.ones(len(rows)))
    torch.testing.assert_close(logq[:, :5], full.gather(1, ids), rtol=0, atol=0.01)
    assert torch.equal(full.topk(5).indices.sort().values, ids.sort().values)


@pytest.mark.usefixtures("small_blocks")
def test_a_large_k_gives_the_gradient_of_the_live_teacher(packed, student, teacher, tmp_path):
    found = []
    for who in (
        LiveTeacher(teacher.model),
        store_teacher(teacher, packed, tmp_path / "s", top=10_000),
    ):
        student.model.zero_grad()
        extra = DistillLoss(who, DistillSettings(imitate="all"))
        FitState(student.model, ()).gradients(
            [micro(packed, range(4))], Objective().plain(), 0, extra
        )
        found.append([p.grad.clone() for p in student.model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0.02, atol=2e-4)


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_run_goes_on(packed, teacher, tmp_path, monkeypatch):
    folder, done = tmp_path / "s", []

    def stop(rows):
        done.append(rows)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_teacher(teacher, packed, folder, top=4, advance=stop)
    with pytest.raises(LacyError, match="E302") as missing:
        StoredTeacher(folder, packed)
    blocks = -(-len(packed) // 3)
    assert missing.value.values["missing"] == blocks - 2
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("*.safetensors")}
    store_teacher(teacher, packed, folder, top=4)
    assert len(list(folder.glob("*.safetensors"))) == blocks
    assert {file: file.stat().st_mtime_ns for file in kept} == kept

    def fail(*args):
        raise AssertionError("nothing is left to compute")

    monkeypatch.setattr(module, "_store_block", fail)
    assert StoredTeacher(folder, packed).kind == store_teacher(teacher, packed, folder, top=4).kind


def test_a_folder_belongs_to_one_teacher_and_kind(packed, student, teacher, tmp_path):
    folder = tmp_path / "s"
    store_teacher(teacher, packed, folder, top=4)
    for who, changes, key in (
        (student, {"top": 4}, "fingerprint"),
        (teacher, {"top": 5}, "top: 4 -> 5"),
        (teacher, {"top": 4, "temperature": 2.0}, "temperature: 1.0 -> 2.0"),
    ):
        with pytest.raises(LacyError, match="E304") as error:
            store_teacher(who, packed, folder, **changes)
        assert key in str(error.value)


def test_other_texts_have_no_predictions(packed, teacher, documents, tmp_path):
    folder = tmp_path / "s"
    store_teacher(teacher, packed, folder, top=4)
    encoded = [encode(document, packed.tokenizer) for document in documents[1:9]]
    other = PackedData.write(encoded, packed.tokenizer, packed.context, tmp_path / "other")
    with pytest.raises(LacyError, match="E302"):
        StoredTeacher(folder, other)
    both = store_teacher(teacher, other, folder, top=4)  # several data sets can share a folder
    StoredTeacher(folder, packed)
    batch = MicroBatch.of(other.batch(np.arange(2)), CPU)
    with pytest.raises(LacyError, match="E303"):
        both.predict(batch, torch.float32)


def test_folders_without_predictions(packed, tmp_path):
    with pytest.raises(LacyError, match="E301"):
        StoredTeacher(tmp_path, packed)
    (tmp_path / module.INDEX).write_text('{"fingerprint": "x"}')
    with pytest.raises(LacyError, match="E301"):
        StoredTeacher(tmp_path, packed)
    (tmp_path / module.INDEX).write_text(
        '{"fingerprint": "x", "tokenizer": "y", "top": 1, "temperature": 1,'
        ' "precision": "fp32", "format": 99}'
    )
    with pytest.raises(LacyError, match="format 99"):
        StoredTeacher(tmp_path, packed)
