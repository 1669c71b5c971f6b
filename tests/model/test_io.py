import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lacy.errors import LacyError
from lacy.model import build_model, load_model, save_model, set_gate, set_taught
from lacy.model.io import META, require_context
from lacy.model.naming import resolve
from lacy.train.checkpoint import checkpoint_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from lacy.testing import byte_tokenizer

    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=32, seed=3)
    path = tmp_path_factory.mktemp("models") / "good"
    save_model(path, model, tokenizer, {"training": {"step": 7}})
    return path, model


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "copy")
    return tmp_path / "copy"


def refused(path, code, **options):
    with pytest.raises(LacyError) as caught:
        load_model(path, **options)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def test_round_trip(saved):
    path, model = saved
    loaded = load_model(path, context=32)
    before, after = model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.meta["training"] == {"step": 7}
    assert loaded.meta["call_id"] == loaded.call_id == len(loaded.tokenizer) - 1
    assert loaded.context == 32


def test_plain_transformers_opens_it(saved):
    path, model = saved
    plain = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer("Ada was born", return_tensors="pt").input_ids
    assert ids.shape == (1, 13) and ids[0, 0] == 0  # begun as in training
    torch.testing.assert_close(plain(ids).logits, model(ids).logits)
    assert (path / "README.md").read_text().startswith("---\nlibrary_name: transformers")
    assert not list(path.glob("*.bin")) and not list(path.glob("*.pkl"))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "added"])
def test_plain_generate_writes_call_only_where_it_competes(kind, tmp_path, tokenizer):
    model = build_model("tiny", tokenizer, context=32, seed=3)
    call_id = len(tokenizer) - 1
    set_gate(model, kind)
    set_taught(model, taught=kind != "added")
    ids_1T = torch.tensor([[0, *b"Ada was"]])
    with torch.no_grad():  # <CALL> has by far the largest logit
        state_D = model.base_model(input_ids=ids_1T).last_hidden_state[0, -1]
        model.get_output_embeddings().weight[-1] = 9 * state_D
    model.generation_config.suppress_tokens = [7]
    save_model(tmp_path / "m", model, tokenizer)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    written = plain.generate(ids_1T, max_new_tokens=1, do_sample=False)[0, -1].item()
    assert (written == call_id) == (kind == "softmax")
    kept = load_model(tmp_path / "m").model.generation_config.suppress_tokens
    assert kept == ([7] if kind == "softmax" else [7, call_id])
    set_gate(plain, "softmax")  # trained on with another objective
    save_model(tmp_path / "m", plain, tokenizer)
    assert load_model(tmp_path / "m").model.generation_config.suppress_tokens == [7]


def test_a_failed_save_leaves_the_old_model(saved, copy, monkeypatch, tokenizer):
    other = build_model("tiny", tokenizer, context=32, seed=4)
    monkeypatch.setattr(type(tokenizer), "save_pretrained", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(copy, other, tokenizer)
    after = load_model(copy).model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in saved[1].state_dict().items())
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


@pytest.mark.parametrize("left", [0, 4, 100, 5_000, -1])
def test_half_written_weights(copy, left):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    assert "model.safetensors" in refused(copy, "E56")


@pytest.mark.parametrize("name", ["config.json", META, "tokenizer.json"])
def test_half_written_json(copy, name):
    file = copy / name
    file.write_text(file.read_text()[:100])
    refused(copy, "E56")


def test_missing_weights_are_an_error(copy):
    tensors = load_file(copy / "model.safetensors")
    gone = "model.norm.weight"
    del tensors[gone]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert gone in refused(copy, "E56")
    (copy / "model.safetensors").unlink()
    assert "missing" in refused(copy, "E56")


def test_not_a_model(tmp_path, copy):
    assert "no config.json" in refused(tmp_path, "E55")
    refused(tmp_path / "nothing", "E13")
    (tmp_path / "file").write_text("x")
    assert "it is a file" in refused(tmp_path / "file", "E55")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "pickled" in refused(copy, "E55")


def test_without_call(copy):
    (copy / META).unlink()
    config = json.loads((copy / "config.json").read_text())
    config["vocab_size"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    assert "--model" in refused(copy, "E57")


def test_a_changed_tokenizer(copy):
    text = (copy / "tokenizer.json").read_text()
    content = json.loads(text)
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (copy / "tokenizer.json").write_text(json.dumps(content))
    assert "not the one it was trained with" in refused(copy, "E59")


def test_a_longer_context(saved, tokenizer):
    assert "at most 32" in refused(saved[0], "E59", context=33)
    require_context(saved[1], 32, saved[0])


def test_a_run_without_a_complete_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    assert "no config.json" in refused(tmp_path, "E55")


def test_a_run_means_its_model_then_its_newest_checkpoint(saved, tmp_path, tokenizer):
    old, new = checkpoint_path(tmp_path, 9), checkpoint_path(tmp_path, 10)
    for path in (old, new):
        save_model(path, saved[1], tokenizer)
    assert resolve(tmp_path) == new
    save_model(tmp_path / "model", saved[1], tokenizer)
    assert resolve(tmp_path) == tmp_path / "model"
    assert resolve("owner/name") == "owner/name"
    with pytest.raises(LacyError, match="not found"):
        resolve("./owner/name")
