"""Training a part of a trained model: what changes, what is stored, and that runs resume."""

import copy
import json
import os
import warnings

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from helpers import models
from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.errors import LacyError
from lacy.model import from_checkpoint, load_model, model_fingerprint, save_model, set_gate
from lacy.run import read_metrics
from lacy.train import TrainConfig, train
from lacy.train.checkpoint import newest, read_checkpoint
from lacy.train.trained import Trained
from lacy.world import make_world

TIMES = ("seconds", "tokens_per_second")
DEPTHS = ("lora", "last=1", "norms", "row")
WHOLE = ("last=1", "norms")
"""Depths that store whole tensors."""


def families():
    made = {"llama-untied": models.llama(models.ALL["byte_level"]),
            "gpt2-tied": models.gpt2(models.ALL["byte_level"])}  # fmt: skip
    tied = copy.deepcopy(made["llama-untied"])
    tied.model.config.tie_word_embeddings = True
    tied.model.tie_weights()
    return made | {"llama-tied": tied}


FAMILIES = families()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder per family, and the packed data for all of them."""
    root = tmp_path_factory.mktemp("depths")
    for name, made in FAMILIES.items():
        save_model(root / name, made.model, made.tokenizer)
    tokenizer = models.ALL["byte_level"]
    documents = make_world(12, 0).documents("train")
    encoded = [encode(document, tokenizer) for document in documents]
    PackedData.write(encoded[:10], tokenizer, 48, root / "data")
    return root


@pytest.fixture
def config(places, tmp_path):
    def make(family="llama-untied", **changes):
        quick = {
            "data": places / "data", "out": tmp_path / "run", "model": str(places / family),
            "depth": "lora", "lora_rank": 4, "lr": 1e-2, "steps": 6, "batch_rows": 4, "decay": 0.5,
            "call_rate": 0.1, "log_every": 1, "save_minutes": 0.0, "dtype": "fp32",
            "device": "cpu", "threads": 1, "quiet": True,
        }  # fmt: skip
        return TrainConfig(**{**quick, **changes})

    return make


def metrics(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_only_what_the_depth_names_is_changed(config, places, family, depth):
    result = train(config(family, depth=depth))
    before = AutoModelForCausalLM.from_pretrained(places / family).state_dict()
    opened = AutoModelForCausalLM.from_pretrained(result.out / "model")
    after = opened.state_dict()
    assert before.keys() == after.keys()
    head = opened.get_output_embeddings().weight
    tied = head is opened.get_input_embeddings().weight
    assert tied == family.endswith("tied") - family.endswith("untied")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    tables = {name for name, weight in opened.named_parameters(remove_duplicate=False)
              if weight is head}  # fmt: skip
    for name in tables:
        assert torch.equal(before[name][:-1], after[name][:-1]), "other rows must stay"
        assert not torch.equal(before[name][-1], after[name][-1])
    layers = changed - tables
    if depth == "row":
        assert not layers
    elif depth == "last=1":
        assert all(".1." in name or "norm" in name or "ln_f" in name for name in layers)
        assert any(".1." in name for name in layers)
    elif depth == "norms":
        assert layers == {name for name in before if "norm" in name or "ln_" in name}
    else:
        matrices = {name for name, weight in before.items() if weight.ndim == 2 and (
            ".h." in name or ".layers." in name)}  # fmt: skip
        assert layers == matrices


@pytest.mark.parametrize("depth", DEPTHS)
def test_checkpoints_hold_what_is_trained(config, places, depth):
    out = train(config("llama-tied", depth=depth, save_every=2)).out
    trained = sum(row["step"] > 0 for row in metrics(out))
    assert trained == 6
    kept = newest(out)
    names = {file.name for file in kept.iterdir()}
    assert "model.safetensors" not in names
    assert {"trainer.safetensors", "trainer.json", "lacy.json", "tokenizer.json"} <= names
    assert ("trained.safetensors" in names) == (depth in WHOLE)
    assert ("adapter_config.json" in names) == (depth not in WHOLE)
    assert {file.name for file in (out / "stable").iterdir()} == names
    # two moments per trained number, and the numbers themselves
    numbers = json.loads((kept / "lacy.json").read_text())["parameters"]
    weights = sum(file.stat().st_size for file in kept.glob("*.safetensors"))
    assert weights == pytest.approx(12 * numbers, abs=60_000)


def stop_after(monkeypatch, step):
    from lacy.train import loop

    original = loop._Loop._save_is_due

    def due(self):
        if self.session.state.step == step:
            os.kill(os.getpid(), 15)
        return original(self)

    monkeypatch.setattr(loop._Loop, "_save_is_due", due)


@pytest.mark.parametrize("family", ["llama-tied", "gpt2-tied"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_stopped_run_continues_as_if_it_had_not_stopped(
    config, tmp_path, monkeypatch, family, depth
):
    whole = train(config(family, depth=depth, lr=None, out=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        stopped = train(config(family, depth=depth, lr=None))
        assert not stopped.finished and stopped.step < 6
    resumed = train(config(family, depth=depth, lr=None))
    assert resumed.finished and metrics(resumed.out) == metrics(whole.out)
    one, other = (load_model(out).model.state_dict() for out in (whole.out, resumed.out))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("depth", ["lora", "row"])
def test_the_adapter_opens_in_peft(config, places, depth):
    out = train(config("llama-tied", depth=depth)).out
    base = AutoModelForCausalLM.from_pretrained(places / "llama-tied")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(base, out / "adapter").eval()
    named = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(places / "llama-tied")
    ids_BT = torch.arange(40).view(2, 20)
    merged = load_model(out).model.eval()
    torch.testing.assert_close(
        adapted(input_ids=ids_BT).logits, merged(input_ids=ids_BT).logits, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("depth", ["lora", "row"])
@pytest.mark.parametrize("called", [True, False])
def test_adapter_and_checkpoints_open_with_lacy(config, places, tmp_path, depth, called):
    """Also if the base has no <CALL>: the row is part of the adapter."""
    base = places / "llama-tied"
    if not called:
        made = copy.deepcopy(FAMILIES["llama-tied"].model)
        made.resize_token_embeddings(len(models.ALL["byte_level"]) - 1)
        made.save_pretrained(base := tmp_path / "raw")
        plain = copy.deepcopy(models.ALL["byte_level"])
        text = json.loads(plain.backend_tokenizer.to_str())
        text["added_tokens"] = text["added_tokens"][:-1]
        (base / "tokenizer.json").write_text(json.dumps(text))
        (base / "tokenizer_config.json").write_text(json.dumps(
            {"bos_token": models.END, "eos_token": models.END, "pad_token": models.END,
             "tokenizer_class": "PreTrainedTokenizerFast"}))  # fmt: skip
    out = train(config(model=str(base), depth=depth, save_every=6)).out
    merged = load_model(out).model.state_dict()
    for place in (out / "adapter", newest(out)):
        found = load_model(place)
        assert found.calls
        for name, weight in found.model.state_dict().items():
            torch.testing.assert_close(weight, merged[name])


def test_a_fork_continues_the_adapters_and_their_learning_rate(config, tmp_path):
    base = train(config(lr=2e-3))
    fork = train(
        config(model="1m", fork=base.out, steps=2, decay=1.0, lr=None, out=tmp_path / "fork")
    )
    assert fork.finished and fork.step == 5
    assert 0 < metrics(fork.out)[0]["lr"] < 2e-3
    assert [load_model(run.out).meta["preset"] for run in (base, fork)] == [None, None]
    with pytest.raises(LacyError) as caught:
        train(config(model="1m", fork=base.out, depth="full", out=tmp_path / "other"))
    assert caught.value.code == "E49" and "--depth lora" in str(caught.value)


def test_a_checkpoint_of_another_base_is_refused_and_kept(config, places, tmp_path, monkeypatch):
    own = load_model(places / "llama-tied")
    save_model(tmp_path / "base", own.model, own.tokenizer)
    settings = config(model=str(tmp_path / "base"))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(settings)
    with torch.no_grad():
        own.model.get_input_embeddings().weight[5] += 1
    save_model(tmp_path / "base", own.model, own.tokenizer)
    with pytest.raises(LacyError) as caught:
        train(settings)
    assert caught.value.code == "E172" and "not those from which" in str(caught.value)
    assert newest(settings.out) is not None


def test_a_damaged_adapter_is_set_aside(config, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        train(config(save_every=2))
    broken = newest(config().out)
    (broken / "adapter_model.safetensors").write_bytes(b"none")
    assert train(config(save_every=2)).finished
    assert (broken.parent / f"unreadable-{broken.name}").is_dir()


def test_a_fitted_gate_is_continued(config, places, tmp_path):
    """The gate of the model decides call_negative, and it is stored in adapter and model."""
    own = load_model(places / "llama-tied")
    set_gate(own.model, "sigmoid")
    save_model(tmp_path / "gated", own.model, own.tokenizer)
    out = train(config(model=str(tmp_path / "gated"))).out
    assert load_model(out).model.config.lacy_gate == "sigmoid"
    assert json.loads((out / "adapter" / "lacy.json").read_text())["gate"] == "sigmoid"
    reasons = json.loads((out / "environment.json").read_text())["reasons"]
    assert any(reason.startswith("call_negative sigmoid") for reason in reasons)
    other = train(config(model=str(tmp_path / "gated"), call_negative="softmax",
                         out=tmp_path / "other", steps=1)).out  # fmt: skip
    reasons = json.loads((other / "environment.json").read_text())["reasons"]
    assert any("must be retrained" in reason for reason in reasons)


def test_the_learning_rate_fits_the_model(config, tmp_path):
    def reasons(**changes):
        out = train(config(steps=1, **changes)).out
        found = json.loads((out / "environment.json").read_text())["reasons"]
        return "\n".join(found)

    chosen = reasons(lr=None, out=tmp_path / "a")
    assert "learning rate 0.01: depth lora of a pretrained model" in chosen
    assert "destroy" not in chosen
    assert "learning rate 0.001: depth full" in reasons(lr=None, depth="full", out=tmp_path / "b")
    assert "will probably destroy" in reasons(lr=0.5, out=tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": "lasso"}, "depth is 'lasso', choose one of full, lora, last=N, norms, row"),
        ({"depth": "last=0"}, "depth is 'last=0'"),
        ({"depth": "lora", "model": "tiny"}, "tiny is a new one"),
        ({"depth": "last=9"}, "the model has 2 layers"),
        ({"lora_targets": ("q_pro",)}, "lora_targets q_pro"),
        ({"model": "smolm2"}, "did you mean 'smollm2'"),
        ({"lora_rank": 0}, "lora_rank is 0"),
    ],
)
def test_mistakes_are_explained(config, changes, words):
    with pytest.raises(LacyError) as caught:
        train(config(**changes))
    assert caught.value.code == "E45" and words in str(caught.value), caught.value


def test_merging_twice_does_nothing(config, places):
    model, _ = from_checkpoint(places / "llama-tied")
    trained = Trained.start(model, config(), "here")
    trained.merge()
    before = model_fingerprint(model)
    trained.merge()
    assert model_fingerprint(model) == before and all(p.requires_grad for p in model.parameters())


def test_the_trainer_s_state_names_the_base(config, places):
    out = train(config(save_every=3)).out
    info = read_checkpoint(newest(out)).info
    assert info["depth"] == "lora" and info["base"]["place"] == str(places / "llama-untied")


@pytest.mark.slow
def test_three_steps_of_a_real_model(smollm2, tmp_path):
    """SmolLM2: adapters and row are trained; a checkpoint is small; all other weights keep bits."""
    from lacy.corpus import load_tokenizer

    tokenizer = load_tokenizer(smollm2)
    documents = list(make_world(12, 0).documents("train"))[:6]
    PackedData.write([encode(d, tokenizer) for d in documents], tokenizer, 64, tmp_path / "data")
    done = train(
        TrainConfig(
            data=tmp_path / "data", out=tmp_path / "run", model="smollm2", depth="lora", steps=3,
            batch_rows=1, call_rate=0.05, save_every=2, save_minutes=0.0, lora_rank=4,
            lora_targets=("q_proj", "v_proj"), eval_rows=1, quiet=True,
        )
    )  # fmt: skip
    assert done.finished and size(newest(done.out)) < 20e6 and size(done.out / "stable") < 20e6
    before, after = (
        load_file(place / "model.safetensors") for place in (smollm2, done.out / "model")
    )
    changed = {name for name, weight in before.items() if not torch.equal(
        weight.float(), after[name][: len(weight)])}  # fmt: skip
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)
    assert len(after["model.embed_tokens.weight"]) == len(tokenizer)
