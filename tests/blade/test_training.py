"""Training: the writer learns, <CALL> keeps its row and nearly its margins, runs are folders."""

import pytest
import torch

from lacy.blade import Triple, WriterSettings, pretrain_domain, tune_writer, writer_prompt
from lacy.errors import LacyError
from lacy.model import Loaded, build_model, load_model, save_model, set_gate, set_taught
from lacy.safety import ReplyRows, ReplySample, reference
from lacy.testing import byte_tokenizer
from lacy.types import Document, Mark

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")

TRIPLES = [Triple(f"Who is {c}?", c, f"It is {c}.") for c in "abcdef"]
QUICK = {"epochs": 4.0, "batch": 3, "lr": 5e-3, "lora_rank": 4}


@pytest.fixture
def calling(tmp_path):
    """The folder of a tiny model with a gate."""
    model = build_model("tiny", byte_tokenizer(), context=128, seed=0)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
        model.get_output_embeddings().weight[-1].normal_(std=1.0)
    set_gate(model, "sigmoid")
    set_taught(model, taught=True)
    return save_model(tmp_path / "calling", model, byte_tokenizer(), {})


def margins(folder):
    """Return the gate's margins at the tokens of the knowledge."""
    loaded = load_model(folder)
    samples = [ReplySample(writer_prompt(one.question), one.knowledge) for one in TRIPLES]
    rows = ReplyRows(samples, loaded.tokenizer)
    return torch.cat(reference(loaded.model, rows, margins=True)[1])


def test_the_writer_learns_and_the_row_of_call_stays(calling, tmp_path):
    steps, notes = [], []
    settings = WriterSettings(**{**QUICK, "lr": None})
    done = tune_writer(calling, TRIPLES, tmp_path / "out", settings,
                       on_step=lambda *step: steps.append(step), notify=notes.append)  # fmt: skip
    assert done.steps == len(steps) == 8
    assert done.last_loss < done.first_loss
    assert "learning rate" in notes[0]
    before, after = load_model(calling), load_model(tmp_path / "out")
    row = [m.model.get_output_embeddings().weight[-1] for m in (before, after)]
    assert torch.equal(*row)
    assert after.calls
    assert not torch.equal(before.model.model.layers[0].mlp.up_proj.weight,
                           after.model.model.layers[0].mlp.up_proj.weight)  # fmt: skip
    assert after.meta["blade"]["triples"] == len(TRIPLES)


def test_held_margins_move_less(calling, tmp_path):
    before = margins(calling)
    moved = {}
    for hold in (0.0, 3.0):
        settings = WriterSettings(**QUICK, hold_call=hold)
        tune_writer(calling, TRIPLES, tmp_path / f"hold{hold}", settings)
        moved[hold] = float((margins(tmp_path / f"hold{hold}") - before).square().mean())
    assert moved[3.0] < 0.5 * moved[0.0]


def test_a_model_that_calls_needs_marks(calling, tmp_path):
    texts = [Document(str(n), "Tin is a metal. " * 9) for n in range(9)]
    with pytest.raises(LacyError, match=r"E398.*calling calls, and the texts have no marks"):
        pretrain_domain(calling, texts, tmp_path / "out", context=64)


def test_what_cannot_be_trained(small, tmp_path):
    with pytest.raises(LacyError, match="E391"):
        tune_writer(small, [], tmp_path / "out")
    with pytest.raises(LacyError, match=r"E390.*no knowledge"):
        tune_writer(small, [*TRIPLES, Triple("Why?", "so")], tmp_path / "out")
    with pytest.raises(LacyError, match="E12"):
        tune_writer(small, TRIPLES, tmp_path / "out", WriterSettings(batch=0))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(LacyError, match="E16"):
        tune_writer(small, TRIPLES, tmp_path / "mine")
    assert not (tmp_path / "out").exists()


def documents():
    text = "The symbol of tin is Sn. "
    return [Document(str(n), text * 2, {}, (Mark(21, 23, "VALUE"),)) for n in range(8)]


@pytest.mark.parametrize("calls", [False, True])
def test_pretraining_goes_on_with_or_without_calls(small, calling, calls, tmp_path):
    notes = []
    start = calling if calls else small
    found = pretrain_domain(
        start, documents(), tmp_path / "out", epochs=1.0, context=64, batch_rows=4, lr=5e-3,
        device="cpu", threads=1, notify=notes.append,
    )  # fmt: skip
    assert isinstance(found, Loaded)
    assert found.calls is calls
    assert bool(notes) is calls
    assert load_model(tmp_path / "out").calls is calls
    before = load_model(start).model.get_output_embeddings().weight[-1]
    after = found.model.get_output_embeddings().weight[-1]
    assert torch.equal(before, after) is not calls


def test_texts_without_a_text(small, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(LacyError, match="E2"):
        pretrain_domain(small, tmp_path / "empty.jsonl", tmp_path / "out")
