"""Models in ONNX Runtime: the same logits, texts, calls and losses as in torch, in small files."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis.strategies import floats
from transformers import MistralConfig, MistralForCausalLM

from lacy.cascade import open_engine, open_model
from lacy.errors import LacyError
from lacy.evaluate import measure_language
from lacy.model import (
    FINGERPRINT,
    build_model,
    gate_of,
    load_model,
    model_fingerprint,
    new_cache,
    new_decoder,
    set_precision,
)
from lacy.runtimes import distinct_bytes, is_onnx, open_local, open_onnx, write_onnx
from lacy.runtimes.onnx_int8 import quantize_blocks
from lacy.sources import ScriptedSource
from lacy.testing import byte_tokenizer
from lacy.types import Document, Mark

from .conftest import logits, made, saved

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra onnx")

DATA = "model.onnx.data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of two layers, because the exporter takes seconds per layer."""
    return saved(made(layers=2), tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """The folder of the model in float32, traced once."""
    return write_onnx(load_model(folder), tmp_path_factory.mktemp("onnx") / "mine")


@pytest.fixture(scope="module")
def int8(folder, tmp_path_factory):
    return write_onnx(load_model(folder), tmp_path_factory.mktemp("onnx") / "int8", "int8")


def test_logits_are_those_of_torch(exported, folder, ids_BT):
    ours, theirs = open_onnx(exported).model, load_model(folder).model
    found = ours(input_ids=ids_BT).logits
    torch.testing.assert_close(found, logits(theirs, ids_BT), rtol=1e-4, atol=1e-4)
    assert ours(input_ids=ids_BT, logits_to_keep=3).logits.shape[1] == 3


def test_the_tied_matrix_is_stored_once(exported, folder):
    plain = load_model(folder).model
    wanted = distinct_bytes(plain)
    assert plain.get_output_embeddings().weight is plain.get_input_embeddings().weight
    assert abs((exported / DATA).stat().st_size - wanted) < 4096
    assert sum(value.nbytes for value in open_onnx(exported).model.parameters()) < wanted


def test_rows_of_different_lengths_decode_as_alone(exported, folder):
    ours, theirs = (
        new_decoder(o.model, call_id=257) for o in (open_onnx(exported), load_model(folder))
    )
    for each in (ours, theirs):
        each.read([[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]])
        each.step([1, 2, 3])
        other = each.part([0, 2])
        each.keep([1])
        each.join([other])
        each.feed([[4, 5], [6, 7], [8, 9]])
    torch.testing.assert_close(ours.last_BV, theirs.last_BV, rtol=1e-4, atol=1e-4)
    candidates = [[[20, 21, 22], [20, 23]], [[30]], [[40, 41], [42, 43, 44]]]
    scores = [each.score([0, 1, 2], candidates, whole=True) for each in (ours, theirs)]
    for mine, wanted in zip(*scores, strict=True):
        assert mine == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    for each in (ours, theirs):
        each.rewind(2)
        each.step([3, 3, 3])
    torch.testing.assert_close(ours.last_BV, theirs.last_BV, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", ["never", "threshold=0", "budget=0.3"])
def test_texts_with_calls_are_those_of_torch(exported, folder, policy):
    prompts = ["Mara Vell was born in", "Ada", "The town of Ulm lies on the"]
    texts = []
    for name in (exported, folder):
        source = ScriptedSource([" Ulm", " 1879"]) if policy != "never" else None
        engine = open_engine(name, source, policy, calibration=None, max_new_tokens=16)
        assert engine.gate == "sigmoid"
        answers = engine.generate(prompts)
        texts.append([[(span.text, span.speaker) for span in answer.spans] for answer in answers])
    assert texts[0] == texts[1]
    speakers = {speaker for answer in texts[0] for _, speaker in answer}
    assert policy == "never" or len(speakers) > 2


def test_losses_of_texts_are_those_of_torch(exported, int8, folder):
    texts = [
        Document(str(n), f"Ada Lovelace lived in 18{n}.", marks=(Mark(0, 12, "ENTITY"),))
        for n in range(5)
    ]
    wanted, found, rounded = (
        measure_language(open_local(name), texts, window=16).scores["text_loss"]
        for name in (folder, exported, int8)
    )
    for part in ("all", "facts", "others"):
        assert found[part].value == pytest.approx(wanted[part].value, rel=1e-5)
        assert rounded[part].value == pytest.approx(wanted[part].value, rel=0.05)


def test_int8_stores_each_matrix_once_in_bytes(int8, folder, ids_BT):
    plain = load_model(folder).model
    tied = plain.get_input_embeddings().weight
    matrices = [w for w in plain.parameters() if w.ndim == 2]
    assert sum(w is tied for w in matrices) == 1
    blocks = sum(-(-w.shape[1] // 32) * w.shape[0] for w in matrices)
    rest = sum(w.nbytes for w in plain.parameters() if w.ndim == 1) + tied[-1].nbytes
    assert abs((int8 / DATA).stat().st_size - (blocks * (32 + 4) + rest)) < 4096
    found = open_onnx(int8).model(input_ids=ids_BT).logits
    whole = logits(plain, ids_BT)
    assert 0 < float((found - whole).norm() / whole.norm()) < 0.15


@given(matrix=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=70),
                     elements=floats(-8, 8, width=32)))  # fmt: skip
def test_blocks_round_to_the_nearest_of_255_steps(matrix):
    steps, scales = quantize_blocks(matrix)
    for row, (row_steps, row_scales) in zip(matrix, zip(steps, scales, strict=True), strict=True):
        for start in range(0, len(row), 32):
            block, scale = row[start : start + 32], row_scales[start // 32]
            assert scale == pytest.approx(np.abs(block).max() / 127, rel=1e-5, abs=1e-30)
            back = (row_steps[start // 32][: len(block)].astype(np.float32) - 128) * scale
            assert np.abs(back - block).max() <= scale * 0.5001 + 1e-30


@pytest.mark.slow
def test_int8_keeps_an_untied_head_and_odd_sizes_apart(tmp_path, ids_BT):
    one = made(layers=1, tied=False, width=40, heads=4)
    before = logits(one.model, ids_BT)
    ours = open_onnx(write_onnx(one, tmp_path / "odd", "int8")).model
    found = ours(input_ids=ids_BT).logits
    assert float((found - before).norm() / before.norm()) < 0.15


def test_the_folder_has_what_lacy_needs(exported, folder):
    assert is_onnx(exported) and not is_onnx(folder)
    loaded = open_model(exported)
    assert gate_of(loaded.model) == "sigmoid" and loaded.calls and loaded.context == 64
    export = loaded.meta["export"]
    assert export == {
        "to": "onnx",
        "precision": "f32",
        "from": load_model(folder).meta[FINGERPRINT],
    }
    assert model_fingerprint(loaded.model) == model_fingerprint(open_onnx(exported).model)
    assert "## Export" in (exported / "README.md").read_text()
    assert b"site-packages" not in (exported / "model.onnx").read_bytes()
    assert set_precision(loaded.model, "fp32") == ""
    assert "f32" in set_precision(loaded.model, "auto")


def test_other_commands_say_what_an_export_is_for(exported):
    with pytest.raises(LacyError, match=r"E310.*ONNX Runtime"):
        load_model(exported)


def test_damaged_exports_are_named(exported, tmp_path):
    def copy(name):
        return shutil.copytree(exported, tmp_path / name)

    without = copy("without")
    (without / DATA).unlink()
    broken = copy("broken")
    (broken / "model.onnx").write_bytes(b"nothing")
    lost = copy("lost")
    (lost / "tokenizer.json").unlink()
    (lost / "tokenizer_config.json").unlink()
    other = copy("other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": 7}))
    for place, code in ((without, "E56"), (broken, "E56"), (lost, "E154"), (other, "E59")):
        with pytest.raises(LacyError) as caught:
            open_onnx(place)
        assert caught.value.code == code


def test_models_that_an_onnx_graph_cannot_hold_are_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    one = made()
    config = MambaConfig(vocab_size=len(one.tokenizer), hidden_size=16, num_hidden_layers=1)
    one.model = MambaForCausalLM(config)
    with pytest.raises(LacyError, match=r"E90.*more than keys and values"):
        write_onnx(one, tmp_path / "out")
    changed = made()
    changed.model.model.layers[0].mlp.up_proj.weight.data += 1
    with pytest.raises(LacyError, match="E155"):
        write_onnx(changed, tmp_path / "out")
    for precision, code in (("int4", "E312"), ("f8", "E12")):
        with pytest.raises(LacyError, match=code):
            write_onnx(made(), tmp_path / "out", precision)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_family_with_biases_and_a_table_of_positions(tmp_path, ids_BT):
    tokenizer = byte_tokenizer()
    one = made()
    one.meta.pop(FINGERPRINT, None)  # its row was fitted on another model
    one.model = build_model("334m", tokenizer, context=64, layers=1, width=32, heads=2).eval()
    out = write_onnx(one, tmp_path / "gpt2")
    torch.testing.assert_close(
        open_onnx(out).model(input_ids=ids_BT).logits,
        logits(one.model, ids_BT),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.slow
def test_layers_with_a_sliding_window_read_no_further_than_it(tmp_path):
    """Also from the cache, which keeps all keys; the text is several windows long."""
    torch.manual_seed(0)
    one = made()
    one.meta.pop(FINGERPRINT, None)  # its row was fitted on another model
    config = MistralConfig(
        vocab_size=len(one.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        sliding_window=6, initializer_range=0.4,
    )  # fmt: skip
    one.model = MistralForCausalLM(config).eval()
    ids_BT = torch.randint(250, (2, 30))
    expected_BTV = logits(one.model, ids_BT)
    short_BTV = logits(one.model, ids_BT[:, 12:])
    assert not torch.allclose(short_BTV[:, 0], expected_BTV[:, 12], atol=1e-2)
    torch.testing.assert_close(short_BTV[:, -1], expected_BTV[:, -1], atol=1e-4, rtol=1e-4)
    run = open_onnx(write_onnx(one, tmp_path / "mistral")).model
    torch.testing.assert_close(run(input_ids=ids_BT).logits, expected_BTV, rtol=1e-4, atol=1e-4)
    cache = new_cache()
    parts = [run(input_ids=part, past_key_values=cache).logits for part in ids_BT.split(10, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected_BTV, rtol=1e-4, atol=1e-4)
