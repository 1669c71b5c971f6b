"""A plan is carried out, stopped, continued and changed; the original is never touched."""

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace

import families
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from helpers.articles import article
from helpers.deep import deep
from helpers.raw import save_raw
from lacy.compress import CompressPlan, MeasureSettings, compress, stage_rows
from lacy.compress.texts import LONGEST_TOKEN, Texts
from lacy.errors import LacyError
from lacy.model import load_model, save_model
from lacy.runtimes import open_local
from lacy.train import loop

PLAN = CompressPlan(
    steps=({"layers": {"remove": 1}}, {"sparsity": {"method": "magnitude"}}),
    outputs=({"gguf": {"precision": "f32"}}, {"gguf": {"bits": 5.5, "norm_tokens": 600}}),
    rows=8, length=48, articles=24,
    measure=MeasureSettings(texts=6, tokens=48, subjects=0, speed=False),
)  # fmt: skip


def digests(folder):
    """Return a hash of every file of a folder."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def done(tuned, articles, tmp_path_factory):
    """The plan, carried out; and the sentences that were said."""
    said = []
    before = digests(tuned)
    out = tmp_path_factory.mktemp("compressed") / "out"
    found = compress(tuned, articles, PLAN, out, notify=said.append)
    assert digests(tuned) == before
    return found, out, said


def test_every_stage_is_made_measured_and_compared(done):
    found, out, _ = done
    assert [stage.name for stage in found.stages] == [
        "original", "1-layers", "2-sparsity", "gguf-f32", "gguf-5.5",
    ]  # fmt: skip
    rows = stage_rows(found)
    assert rows[0].loss_off_facts.value == 0.0 and rows[0].auroc_change == 0.0
    assert rows[1].loss_off_facts.value != 0.0
    assert rows[1].bytes < rows[0].bytes
    stored = json.loads((out / "compression.json").read_text())
    assert [stage["name"] for stage in stored["stages"]] == [s.name for s in found.stages]
    assert str(out) not in json.dumps(stored)


def test_the_layers_after_a_removed_one_are_refitted(done):
    _, _, said = done
    assert any("removed: influence" in sentence for sentence in said)
    assert any("fitted: error" in sentence for sentence in said)


def test_an_exact_output_measures_like_the_step_before_it(done):
    rows = stage_rows(done[0])
    assert rows[3].loss_off_facts.value == pytest.approx(rows[2].loss_off_facts.value, abs=1e-6)
    assert rows[3].auroc.value == pytest.approx(rows[2].auroc.value, abs=1e-6)


def test_rounded_weights_are_within_their_budget(done):
    exact, rounded = done[0].stages[3:5]
    assert rounded.did["bits_per_weight"] <= 5.5
    assert rounded.bytes < exact.bytes
    one, other = (load_model(stage.path).model.state_dict() for stage in (exact, rounded))
    norms = [name for name, weight in one.items() if weight.ndim == 1]
    assert norms and not any(one[name].equal(other[name]) for name in norms)
    assert abs(stage_rows(done[0])[4].loss_off_facts.value) < 0.1
    assert load_model(rounded.path).calls


def test_every_stage_keeps_its_call_and_its_history(done):
    found = done[0]
    for stage in found.stages[1:3]:
        loaded = load_model(stage.path)
        assert loaded.calls and loaded.model.config.lacy_gate == "sigmoid"
        assert loaded.call_id == loaded.model.config.vocab_size - 1
    kinds = [next(iter(step)) for step in load_model(found.stages[2].path).meta["compression"]]
    assert kinds == ["layers", "sparsity"]
    assert load_model(found.stages[3].path).calls


def test_the_row_is_fitted_again_after_a_step(done, tuned):
    before = load_model(tuned).model.get_output_embeddings().weight[-1]
    after = load_model(done[0].stages[1].path).model.get_output_embeddings().weight[-1]
    assert not before.equal(after)


def test_nothing_is_done_twice(done, tuned, articles):
    found, out, _ = done
    said = []
    again = compress(tuned, articles, PLAN, out, notify=said.append)
    assert [line for line in said if "done already" in line] == [
        "1-layers: done already", "2-sparsity: done already", "gguf-f32: done already",
        "gguf-5.5: done already",
    ]  # fmt: skip
    assert not any(line.startswith("Measure") for line in said)
    assert [s.measured.to_data() for s in again.stages] == [
        s.measured.to_data() for s in found.stages
    ]


def test_a_stopped_compression_goes_on_with_what_is_missing(done, tuned, articles, tmp_path):
    found, out, _ = done
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    (copy / "steps/2-sparsity/measured.json").unlink()
    shutil.rmtree(copy / "outputs")
    said = []
    again = compress(tuned, articles, PLAN, copy, notify=said.append)
    assert "1-layers: done already" in said and "2-sparsity: done already" in said
    assert sum(line.startswith("Measure losses") for line in said) == 3
    assert stage_rows(again)[3].loss_off_facts == stage_rows(found)[3].loss_off_facts


def test_a_changed_setting_repeats_its_stage_and_all_later_ones(done, tuned, articles, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(done[1], copy)
    said = []
    steps = (PLAN.steps[0], {"sparsity": {"method": "magnitude", "share": 0.25}})
    compress(tuned, articles, replace(PLAN, steps=steps), copy, notify=said.append)
    assert [line for line in said if "done already" in line] == ["1-layers: done already"]


def test_a_killed_process_leaves_whole_stages(tuned, articles, tmp_path):
    """Every stage but the one in progress is kept; the interrupted one is made again."""

    class Stopped(BaseException):
        pass

    def stop(sentence):
        if sentence.startswith("2-sparsity"):
            raise Stopped

    out = tmp_path / "out"
    with pytest.raises(Stopped):
        compress(tuned, articles, PLAN, out, notify=stop)
    (out / "scratch/of-a-killed-process").mkdir()  # in the folder that the run left behind
    said = []
    compress(tuned, articles, PLAN, out, notify=said.append)
    assert not (out / "scratch").exists()
    assert [line for line in said if "done already" in line] == ["1-layers: done already"]


def test_a_stopped_recovery_goes_on_after_its_last_checkpoint(
    tuned, articles, tmp_path, monkeypatch
):
    plan = replace(PLAN, steps=({"recover": {"tokens": 2400}},), outputs=())
    whole = compress(tuned, articles, plan, tmp_path / "whole")
    out, began = tmp_path / "out", []

    def stop(training):
        if training.session.state.step == 4:
            os.kill(os.getpid(), signal.SIGINT)  # the loop saves after its next step
        return False

    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_save_is_due", stop)
        with pytest.raises(KeyboardInterrupt):
            compress(tuned, articles, plan, out)
    training = out / "steps/1-recover/training"
    assert list(training.glob("run/checkpoints/step-*"))

    def note(training):
        began.append(training.session.state.step)
        return False

    monkeypatch.setattr(loop._Loop, "_save_is_due", note)
    again = compress(tuned, articles, plan, out)
    assert began[0] == 6
    one, other = (load_model(done.stages[1].path).model.state_dict() for done in (whole, again))
    assert all(one[name].equal(other[name]) for name in one)
    assert not training.exists()


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_results_are_never_written_into_the_model(tuned, articles, place):
    out = tuned / place
    with pytest.raises(LacyError, match="E323"):
        compress(tuned, articles, PLAN, out)


@pytest.mark.parametrize("place", ["steps/1-layers", "scratch"])
def test_somebody_elses_files_are_never_removed(tuned, articles, tmp_path, place):
    notes = tmp_path / "out" / place / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(LacyError, match="E16"):
        compress(tuned, articles, PLAN, tmp_path / "out")
    assert notes.read_text() == "mine"


def test_rounded_models_are_not_rounded_again(tuned, articles, tmp_path):
    from lacy.model import save_model
    from lacy.runtimes import quantize_int8

    rounded, _ = quantize_int8(load_model(tuned))
    save_model(tmp_path / "int8", rounded.model, rounded.tokenizer, rounded.meta)
    with pytest.raises(LacyError, match="E311"):
        compress(tmp_path / "int8", articles, PLAN, tmp_path / "out")


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (replace(PLAN, steps=({"sparsity": {"pattern": "2:5"}},)), "E292"),
        (replace(PLAN, steps=({"width": {"heads": 0.5}}, {"layers": {"remove": 9}})), "E290"),
        (replace(PLAN, steps=({"layers": {"remove": 0.1}},)), "E290"),
        (replace(PLAN, steps=({"layers": {"remove": 2}}, {"layers": {"remove": 1}})), "E290"),
        (replace(PLAN, steps=({"width": {"heads": 0.1}},) * 3), "E294.*0 heads"),
        (
            replace(
                PLAN,
                steps=({"width": {"channels": 0.5, "neurons": 0.5}},),
                outputs=({"gguf": {"bits": 5}},),
            ),
            "E282.*16 weights",
        ),
    ],
)
def test_a_step_that_does_not_fit_the_model_is_refused_before_work(
    tuned, articles, tmp_path, plan, error
):
    with pytest.raises(LacyError, match=error):
        compress(tuned, articles, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_steps_that_the_architecture_or_tokenizer_lacks_are_refused_before_work(articles, tmp_path):
    loaded = deep("olmo2")
    save_model(tmp_path / "olmo2", loaded.model, loaded.tokenizer, {})
    plan = replace(PLAN, steps=({"layers": {"remove": 1}}, {"width": {"heads": 0.5}}), outputs=())
    with pytest.raises(LacyError, match="E291"):
        compress(tmp_path / "olmo2", articles, plan, tmp_path / "out")
    loaded = deep("gpt2")
    save_model(tmp_path / "gpt2", loaded.model, loaded.tokenizer, {})
    with pytest.raises(LacyError, match=r"E90.*no linear layers"):
        plan = replace(PLAN, outputs=("int8",))
        compress(tmp_path / "gpt2", articles, plan, tmp_path / "out")
    pieces = {"[UNK]": 0, "[EOS]": 1, **{letter: n for n, letter in enumerate("abc", 2)}}
    backend = Tokenizer(WordPiece(pieces, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[EOS]")
    raw = save_raw(tmp_path / "pieces", families.tiny("llama", 5), tokenizer)
    plan = replace(PLAN, steps=({"layers": {"remove": 1}}, "vocabulary"), outputs=())
    with pytest.raises(LacyError, match=r"E274.*WordPiece"):
        compress(raw, articles, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_noticed_before_work(tuned, articles, tmp_path, monkeypatch):
    import lacy.compress.checks as checks

    weights = sum(p.numel() for p in load_model(tuned).model.parameters())
    free = 4 * weights * 5  # the original, two steps and two outputs fit; a training does not
    usage = checks.shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage)
    checks.check_before_work(load_model(tuned), PLAN, tmp_path / "out", tuned)
    trains = replace(PLAN, steps=(*PLAN.steps, {"recover": {"tokens": 500}}))
    with pytest.raises(LacyError, match="E324"):
        compress(tuned, articles, trains, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_texts_are_refused(tuned, tmp_path):
    from helpers.articles import article
    from lacy.corpus import write_documents

    few = tmp_path / "few.jsonl"
    write_documents([article(number) for number in range(8)], few)
    with pytest.raises(LacyError, match="E322"):
        compress(tuned, few, PLAN, tmp_path / "out")


def test_texts_that_steps_read_are_not_measured_on(tuned, articles, tmp_path):
    with pytest.raises(LacyError, match="E12"):
        compress(tuned, articles, PLAN, tmp_path / "out", held_out=articles)


@pytest.mark.slow
def test_eight_bits_half_precision_and_onnx_are_outputs(tuned, articles, tmp_path):
    outputs = ("int8", {"folder": {"precision": "bf16"}}, {"onnx": {"precision": "f32"}})
    steps = ({"layers": {"remove": 2}},)  # the ONNX exporter takes seconds per layer
    plan = replace(PLAN, steps=steps, outputs=outputs)
    found = compress(tuned, articles, plan, tmp_path / "out")
    _, whole, int8, half, onnx = found.stages
    assert whole.bytes > half.bytes > 0 and int8.bytes < whole.bytes
    for stage in (int8, half, onnx):
        assert open_local(stage.path).calls
    _, before, _, half_row, onnx_row = (row.loss_off_facts.value for row in stage_rows(found))
    assert half_row == pytest.approx(before, abs=0.02)
    assert onnx_row == pytest.approx(before, abs=1e-4)
    assert onnx.bytes >= whole.bytes


def test_a_narrow_model_is_trained_with_the_original_as_teacher(tuned, articles, tmp_path):
    steps = (
        {"width": {"neurons": 0.5, "heads": 0.5}},
        {"recover": {"tokens": 2000, "learning_rate": 3e-3}},
    )
    found = compress(tuned, articles, replace(PLAN, steps=steps, outputs=()), tmp_path / "out")
    _, narrow, recovered = stage_rows(found)
    config = load_model(found.stages[2].path).model.config
    assert (config.intermediate_size, config.num_attention_heads) == (32, 2)
    assert config.num_key_value_heads == 1
    assert recovered.loss_off_facts.value < narrow.loss_off_facts.value
    assert found.stages[2].did["tokens"] >= 2000
    assert load_model(found.stages[2].path).calls


def test_zeros_stay_zeros_when_the_model_recovers(tuned, articles, tmp_path):
    steps = ({"sparsity": {"method": "magnitude"}}, {"recover": {"tokens": 500}})
    found = compress(tuned, articles, replace(PLAN, steps=steps, outputs=()), tmp_path / "out")
    before, after = (load_model(stage.path).model.state_dict() for stage in found.stages[1:])
    name = next(name for name in before if name.endswith("q_proj.weight"))
    assert (before[name] == 0).sum() * 2 == before[name].numel()
    assert ((before[name] == 0) == (after[name] == 0)).all()
    assert not before[name].equal(after[name])


def test_a_smaller_vocabulary_is_the_teachers_vocabulary_too(tuned, articles, tmp_path):
    steps = (
        {"vocabulary": {"tolerance": 2}},
        {"layers": {"remove": 1}},
        {"recover": {"tokens": 500}},
    )
    plan = replace(PLAN, steps=steps, outputs=({"gguf": {"precision": "f16"}},))
    found = compress(tuned, articles, plan, tmp_path / "out")
    sizes = [len(load_model(stage.path).tokenizer) for stage in found.stages]
    assert sizes[0] > sizes[1] == sizes[2] == sizes[3]
    assert found.stages[1].did["tokens"] == sizes[1]
    assert all(load_model(stage.path).calls for stage in found.stages)
    rows = stage_rows(found)
    assert rows[4].loss_off_facts.value == pytest.approx(rows[3].loss_off_facts.value, abs=2e-3)
    # A compression that goes on after the vocabulary has the same teacher.
    shutil.rmtree(tmp_path / "out/steps/3-recover")
    again = compress(tuned, articles, plan, tmp_path / "out")
    assert again.stages[3].measured.to_data() == found.stages[3].measured.to_data()


def test_a_model_that_was_not_taught_to_call_is_compressed_as_it_is(articles, tmp_path):
    from helpers.raw import raw_llama, save_raw

    raw = save_raw(tmp_path / "raw", raw_llama())
    done = compress(raw, articles, replace(PLAN, outputs=("int8",)), tmp_path / "out")
    assert all(row.auroc is None and row.right is None for row in stage_rows(done))
    assert not load_model(done.stages[1].path).calls


def test_texts_for_a_training_are_enough_and_marked():
    texts = Texts([article(n) for n in range(4)], [])
    bare = [replace(document, marks=()) for document in texts.fit]
    first = len(bare[0].text)
    assert texts.for_training(1, marks=False) == texts.fit[:1]
    mixed = Texts([texts.fit[0], *bare[1:]], [])
    found = mixed.for_training(first // LONGEST_TOKEN + 1, marks=True)
    assert [document.text for document in found] == [d.text for d in bare[:2]]
    assert found[0].marks == texts.fit[0].marks and found[1].marks
