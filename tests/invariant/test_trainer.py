"""Our loop and ``transformers.Trainer`` with the adapter are the same training."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.errors import LacyError
from lacy.model import (
    build_model,
    from_checkpoint,
    gate_of,
    load_model,
    model_fingerprint,
    save_model,
)
from lacy.objective import Objective
from lacy.run import read_metrics
from lacy.testing import byte_tokenizer
from lacy.train import CallTrainer, TrainConfig, train
from lacy.train.optim import make_optimizers
from lacy.train.schedule import make_schedule
from lacy.train.trainer_adapter import QUANTILE
from lacy.world import make_world

STEPS, ROWS = 12, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    tokenizer = byte_tokenizer()
    documents = list(make_world(12, 0).documents("train"))[:8]
    path = tmp_path_factory.mktemp("packed") / "data"
    packed = PackedData.write((encode(d, tokenizer) for d in documents), tokenizer, 48, path)
    assert len(packed) > STEPS * ROWS  # within an epoch: the Trainer cuts its last batch short
    return packed


@pytest.fixture
def config(data, tmp_path):
    return TrainConfig(
        data=data.path, out=tmp_path / "ours", model="tiny", steps=STEPS, batch_rows=ROWS,
        call_rate=0.1, text_weight=0.1, log_every=1, dtype="fp32", device="cpu", threads=1,
        quiet=True, lr=1e-2,
    )  # fmt: skip


def theirs(config, data, out, *, accumulate=1, steps=STEPS, **extra):
    model = build_model("tiny", data.tokenizer, context=data.context, seed=config.seed)
    (optimizer,) = make_optimizers(model, lr=config.lr, weight_decay=config.weight_decay)
    schedule = make_schedule(config, rows=len(data), context=data.context)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.at)
    args = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=ROWS // accumulate,
        gradient_accumulation_steps=accumulate, logging_steps=1, logging_first_step=True,
        report_to=[], seed=config.seed, use_cpu=True, max_grad_norm=config.clip,
        save_strategy="no", disable_tqdm=True, logging_nan_inf_filter=False, **extra,
    )  # fmt: skip
    return CallTrainer(
        model, args, data=data, objective=config.objective(), optimizers=(optimizer, rates)
    )


@pytest.mark.parametrize("method", ["lacy", "none"])
def test_same_losses_and_weights(config, data, tmp_path, method):
    config = replace(config, method=method)
    train(config)
    trainer = theirs(config, data, tmp_path / "theirs")
    trainer.train()
    ours = read_metrics(config.out / "metrics.jsonl")
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert len(ours) == len(log) == STEPS
    for mine, other in zip(ours, log, strict=True):
        # the Trainer rounds its losses, hence the absolute tolerance
        assert mine["loss"] == pytest.approx(other["loss"], abs=2e-4)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert mine["call_rate"] == pytest.approx(other["call_rate"], abs=1e-6)
    weights = load_model(config.out).model.state_dict()
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-4, atol=1e-5)


def test_another_seed_is_another_training(config, data, tmp_path):
    """The control: the comparison above can fail."""
    train(config)
    trainer = theirs(replace(config, seed=1), data, tmp_path / "theirs")
    trainer.train()
    ours = read_metrics(config.out / "metrics.jsonl")
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, log, strict=True)) > 1e-2


def test_accumulation_uses_a_running_quantile_that_is_saved(config, data, tmp_path):
    trainer = theirs(config, data, tmp_path / "theirs", accumulate=2, steps=6)
    trainer.args.save_strategy = "steps"
    trainer.args.save_steps = 4
    trainer.train()
    assert trainer.quantile is not None
    rates = [row["call_rate"] for row in trainer.state.log_history if "call_rate" in row]
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.03)
    saved = tmp_path / "theirs" / "checkpoint-4"
    assert (saved / QUANTILE).exists()
    again = theirs(config, data, tmp_path / "again", accumulate=2, steps=6)
    again.train(resume_from_checkpoint=str(saved))
    first, second = trainer.quantile.state_dict(), again.quantile.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_gate_is_recorded_in_the_config(data, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    for negative, gate in (("sigmoid", "sigmoid"), ("softmax", "softmax")):
        model = build_model("tiny", data.tokenizer, context=data.context, seed=0)
        CallTrainer(model, arguments, data=data, objective=Objective(call_negative=negative))
        assert gate_of(model) == gate


def test_a_checkpoint_opens_with_lacy_and_resumes_only_if_complete(config, data, tmp_path):
    trainer = theirs(config, data, tmp_path / "theirs", steps=4)
    trainer.args.save_strategy = "steps"
    trainer.args.save_steps = 2
    trainer.train()
    saved = tmp_path / "theirs" / "checkpoint-2"
    loaded = load_model(tmp_path / "theirs" / "checkpoint-4")
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, loaded.model.state_dict()[name], rtol=0, atol=0)
    again = theirs(config, data, tmp_path / "again", steps=4)
    again.train(resume_from_checkpoint=str(saved))
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, trainer.model.state_dict()[name], rtol=0, atol=0)

    file = saved / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if "norm" not in k}, file, {"format": "pt"})
    with pytest.raises(LacyError, match="weights missing") as caught:
        theirs(config, data, tmp_path / "b", steps=4).train(resume_from_checkpoint=str(saved))
    assert caught.value.code == "E56"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LacyError, match="safetensors"):
        theirs(config, data, tmp_path / "c", steps=4).train(resume_from_checkpoint=str(saved))


def test_data_that_were_changed_or_do_not_fit_are_refused(data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data.path, copy)
    packed = PackedData.load(copy)
    arguments = TrainingArguments(output_dir=str(tmp_path / "t"), use_cpu=True, report_to=[])
    model = build_model("tiny", data.tokenizer, context=data.context)
    CallTrainer(model, arguments, data=packed)

    padded = build_model("tiny", data.tokenizer, context=data.context)
    padded.resize_token_embeddings(len(data.tokenizer) + 6)
    short = build_model("tiny", data.tokenizer, context=data.context - 1)
    for wrong, why in ((padded, "tokens, <CALL> the last"), (short, "it accepts at most 47")):
        with pytest.raises(LacyError, match=why) as caught:
            CallTrainer(wrong, arguments, data=packed)
        assert caught.value.code == "E59"

    (file,) = copy.glob("*.arrow")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(LacyError, match="changed after it was packed") as caught:
        CallTrainer(model, arguments, data=PackedData.load(copy))
    assert caught.value.code == "E25"


def test_a_peft_model_is_trained_saved_and_opened(data, tmp_path):
    """The checkpoint is an adapter with the <CALL> row, which opens by load_model."""
    plain = build_model("tiny", data.tokenizer, context=data.context, seed=1)
    base = save_model(tmp_path / "base", plain, data.tokenizer)
    model, _ = from_checkpoint(base, data.tokenizer)
    call_id = len(data.tokenizer) - 1
    adapters = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear",
                          trainable_token_indices={"lm_head": [call_id]})  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, adapters)
        args = TrainingArguments(
            output_dir=str(tmp_path / "hf"), max_steps=4, per_device_train_batch_size=ROWS,
            learning_rate=1e-2, report_to=[], use_cpu=True, save_steps=4, disable_tqdm=True,
        )  # fmt: skip
        objective = Objective(call_rate=0.1, call_negative="sigmoid")
        trainer = CallTrainer(adapted, args, data=data, objective=objective)
        trainer.train()
        checkpoint = tmp_path / "hf" / "checkpoint-4"
        loaded = load_model(checkpoint)
        ids_BT = torch.arange(30).view(1, 30)
        expected = adapted.eval()(input_ids=ids_BT).logits
    assert not (checkpoint / "model.safetensors").exists() and gate_of(loaded.model) == "sigmoid"
    torch.testing.assert_close(loaded.model.eval()(input_ids=ids_BT).logits, expected)
    rows = [m.get_output_embeddings().weight[-1] for m in (plain, loaded.model)]
    assert not torch.equal(*rows)
    meta = json.loads((checkpoint / "lacy.json").read_text())
    assert meta["base"]["weights"] == model_fingerprint(base)
