"""A whole run: checked before it starts, resumable, with stored or live teachers."""

import pytest
import torch

from distill.conftest import make
from helpers.models import ALL, llama
from lacy.distill import DistillSettings, LiveTeacher, distill, store_teacher
from lacy.errors import LacyError
from lacy.model import Loaded, load_model, set_gate
from lacy.objective import Objective
from lacy.train import MicroBatch

QUICK = {"batch_rows": 4, "tokens": 4 * 48 * 6, "device": "cpu", "threads": 1, "seed": 1}


def distance(student, teacher, packed):
    """KL(teacher || student) per position of all rows."""
    micro = MicroBatch.of(packed.batch(range(len(packed))), torch.device("cpu"))
    rows = torch.arange(micro.ids_BT.numel())[micro.valid_BT.flatten()]
    logq, logp = (
        LiveTeacher(loaded.model).predict(micro, torch.float32).chunk(rows).logq_nM
        for loaded in (teacher, student)
    )
    return float((logq.exp() * (logq - logp)).sum(1).mean())


def test_the_student_comes_closer(packed, student, teacher, documents):
    before = distance(student, teacher, packed)
    said = []
    result = distill(student, teacher, packed, lr=5e-3, notify=said.append, **QUICK)
    assert result.steps == 6 and result.tokens == QUICK["tokens"]
    assert distance(result.loaded, teacher, packed) < before
    assert result.run.imitate == "unmarked" and any("unmarked" in line for line in said)
    record = result.record()
    assert record["lr"] == 5e-3 and record["weight"] == 1.0 and len(record["teacher"]) == 16
    # Texts that are not packed yet, as documents with marks and as token ids without any.
    result = distill(make(packed, 1), teacher, documents[:4], context=48, **QUICK)
    assert result.run.imitate == "unmarked"
    rows = tuple(torch.from_numpy(packed.batch([n])["input_ids"]).long() for n in range(4))
    result = distill(make(packed, 1), teacher, rows, context=16, **QUICK)
    assert result.run.imitate == "all"


def test_a_gate_stays_and_its_owner_is_told(packed, student, teacher):
    set_gate(student.model, "sigmoid")
    row_D = student.model.get_output_embeddings().weight[-1].detach().clone()
    said = []
    result = distill(student, teacher, packed, notify=said.append, **QUICK)
    assert result.loaded.calls and result.loaded.model.config.lacy_gate == "sigmoid"
    assert torch.equal(result.loaded.model.get_output_embeddings().weight[-1], row_D)
    assert any("lacy tune" in line for line in said)


def test_the_preset_of_a_student_is_kept(packed, student, teacher):
    """A model that began with new weights does not read sources; its ``lacy.json`` says so."""
    student.meta = {"preset": "tiny", "training": {"settings": {"method": "lacy"}}}
    result = distill(student, teacher, packed, **QUICK)
    assert result.loaded.meta["preset"] == "tiny"


def test_calls_are_learned_beside_the_teacher(packed, student, teacher):
    row_D = student.model.get_output_embeddings().weight[-1].detach().clone()
    result = distill(
        student, teacher, packed, objective=Objective(call_rate=0.1),
        settings=DistillSettings(imitate="undelegated"), **QUICK,
    )  # fmt: skip
    assert not torch.equal(result.loaded.model.get_output_embeddings().weight[-1], row_D)
    assert result.metrics["call_rate"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("depth", ["lora", "last=1"])
def test_depths(packed, student, teacher, depth):
    body = {name: p.detach().clone() for name, p in student.model.named_parameters()}
    result = distill(student, teacher, packed, depth=depth, **QUICK)
    changed = {
        name for name, p in result.loaded.model.named_parameters() if not torch.equal(p, body[name])
    }
    assert changed and not any("embed" in name for name in changed)
    last = f"layers.{student.model.config.num_hidden_layers - 1}."
    assert all((last in n or n == "model.norm.weight") for n in changed) == (depth == "last=1")


def test_a_finished_run_is_not_repeated_and_not_mixed(packed, student, teacher, tmp_path):
    out = tmp_path / "run"
    first = distill(student, teacher, packed, out=out, **QUICK)
    again = distill(make(packed, 1), teacher, packed, out=out, **QUICK)
    assert again.steps == first.steps
    for one, two in zip(
        first.loaded.model.parameters(), again.loaded.model.parameters(), strict=True
    ):
        assert torch.equal(one, two)
    assert load_model(out).calls == first.loaded.calls
    for changes in ({"settings": DistillSettings(temperature=2.0)}, {"teacher": make(packed, 9)}):
        given = {"teacher": teacher, **changes}
        with pytest.raises(LacyError, match="E17"):
            distill(make(packed, 1), data=packed, out=out, **given, **QUICK)


def test_a_stopped_run_goes_on_to_the_same_weights(packed, student, teacher, tmp_path):
    whole = distill(make(packed, 1), teacher, packed, **QUICK)
    options = {**QUICK, "out": tmp_path / "run", "save_every": 2, "keep": 9}
    finished = distill(make(packed, 1), teacher, packed, **options)
    for name in ("model", "checkpoints/step-00000006", "checkpoints/step-00000004"):
        folder = tmp_path / "run" / name
        folder.rename(folder.with_name(f"gone-{folder.name}"))  # as if killed in step 3
    resumed = distill(make(packed, 1), teacher, packed, **options)
    for one, two, three in zip(
        *(r.loaded.model.parameters() for r in (whole, finished, resumed)), strict=True
    ):
        assert torch.equal(one, two) and torch.equal(two, three)


def test_stored_predictions_need_no_teacher(packed, student, teacher, tmp_path):
    folder = tmp_path / "stored"
    store_teacher(teacher, packed, folder, top=32, temperature=2.0)
    before = distance(student, teacher, packed)
    result = distill(student, None, packed, stored=folder, lr=5e-3, **QUICK)
    assert result.run.top == 32 and result.run.temperature == 2.0
    assert distance(result.loaded, teacher, packed) < before


def test_mistakes_are_found_before_the_first_step(packed, student, teacher, documents, tmp_path):
    plain = [type(d)(d.id, d.text) for d in documents[:4]]
    other = llama(ALL["byte_level"])
    stranger = Loaded(other.model, other.tokenizer, name="stranger")
    for code, given in {
        "E306": {"teacher": None},
        "E300": {"teacher": stranger},
        "E305": {"data": plain, "settings": DistillSettings(imitate="unmarked")},
        "E301": {"teacher": None, "stored": tmp_path / "nothing"},
        "E12": {"settings": DistillSettings(imitate="undelegated")},
    }.items():
        arguments = {"teacher": teacher, "data": packed, **given}
        with pytest.raises(LacyError, match=code):
            distill(student, out=tmp_path / "run", **arguments, **QUICK)
        assert not (tmp_path / "run").exists()
    for name in ("other", "other-work"):  # settings are checked before anything is written
        with pytest.raises(LacyError, match="E45"):
            distill(student, teacher, packed, out=tmp_path / "other", depth="half", **QUICK)
        assert not (tmp_path / name).exists()
    with pytest.raises(LacyError, match="student itself"):
        distill(student, student, packed, **QUICK)


def test_without_weight_no_teacher_is_needed(packed, student):
    result = distill(student, None, packed, settings=DistillSettings(weight=0.0), **QUICK)
    assert result.run.teacher == ""
