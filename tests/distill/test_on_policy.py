"""Students learn on their own texts through TRL; <CALL> is neither written nor compared."""

import pytest
import torch

from distill.conftest import make
from helpers.models import ALL, llama
from lacy.distill import distill_on_policy
from lacy.distill.on_policy import call_suppressed
from lacy.errors import LacyError
from lacy.model import Loaded, hidden_states, set_call_row, set_gate

PROMPTS = ["Mara Vell", "Tomas Brill was", "He", "In 1921"]
QUICK = {"batch": 4, "new_tokens": 12, "device": "cpu", "lr": 1e-2}


def test_call_has_no_probability_within_the_context(student, teacher):
    ids = torch.arange(10)[None]
    before = student.model(ids).logits
    set_call_row(student.model, 100 * torch.ones(64))
    with call_suppressed(student.model, teacher.model):
        for loaded in (student, teacher):
            logits = loaded.model(ids).logits
            assert (logits.softmax(-1)[..., -1] == 0).all()
        torch.testing.assert_close(student.model(ids).logits[..., :-1], before[..., :-1])
        written = student.model.generate(ids, max_new_tokens=20, do_sample=True)
        assert not (written == student.call_id).any()
    assert student.model.get_output_embeddings().bias is None


@pytest.mark.slow
def test_a_student_comes_to_its_teacher(student, teacher):
    pytest.importorskip("trl", reason="needs the extra distill")
    pad = student.model.config.pad_token_id
    set_call_row(student.model, torch.ones(64))  # it would write <CALL> if it could
    row_D = student.model.get_output_embeddings().weight[-1].detach().clone()
    result = distill_on_policy(student, teacher, PROMPTS, steps=40, divergence="forward", **QUICK)
    assert result.steps == 40 and len(result.losses) == 40
    assert 0 < result.written <= 40 * 4 * 12 and result.not_imitated == 0
    first, last = (sum(part) / 8 for part in (result.losses[:8], result.losses[-8:]))
    assert last < 0.8 * first
    assert torch.equal(result.loaded.model.get_output_embeddings().weight[-1], row_D)
    assert result.loaded.model.get_output_embeddings().bias is None
    assert result.loaded.model.config.pad_token_id == pad


@pytest.mark.slow
def test_the_teacher_is_not_imitated_where_the_gate_calls(packed, teacher):
    pytest.importorskip("trl", reason="needs the extra distill")
    found = {}
    for name, scale in (("never", 0.0), ("often", 100.0)):
        student = make(packed, 1)
        set_gate(student.model, "sigmoid")
        ids_BT = torch.from_numpy(packed.batch(range(8))["input_ids"]).long()
        mean_D = hidden_states(student.model, ids_BT).detach().mean((0, 1))
        set_call_row(student.model, scale * mean_D)
        found[name] = distill_on_policy(student, teacher, PROMPTS, steps=2, **QUICK)
    assert found["never"].not_imitated == 0
    assert 0 < found["often"].not_imitated <= found["often"].written
    assert min(found["never"].losses) > min(found["often"].losses)


def test_mistakes(student, teacher):
    pytest.importorskip("trl", reason="needs the extra distill")
    other = llama(ALL["byte_level"])
    stranger = Loaded(other.model, other.tokenizer, name="stranger")
    for code, arguments, options in (
        ("E300", (student, stranger, PROMPTS), {}),
        ("E307", (student, teacher, []), {}),
        ("E307", (student, teacher, PROMPTS), {"skip_calls": True}),
        ("E12", (student, teacher, PROMPTS), {"steps": 0}),
    ):
        with pytest.raises(LacyError, match=code):
            distill_on_policy(*arguments, **{**QUICK, **options})
