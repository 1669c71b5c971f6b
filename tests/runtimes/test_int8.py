"""Linear layers in int8: the same numbers as the formula, small files that load anywhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoConfig, AutoModelForCausalLM

from lacy.cascade import open_engine
from lacy.cli import main
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    build_model,
    from_checkpoint,
    gate_of,
    load_model,
    model_fingerprint,
    new_decoder,
    quantization_of,
    read_head,
    save_model,
    set_call_row,
    set_precision,
    write_gguf,
)
from lacy.runtimes import (
    distinct_bytes,
    distinct_tensors,
    quantization_aware,
    quantize_int8,
    quantized_matrices,
    stored_bytes,
    write_safetensors,
)
from lacy.serve import Scheduler, make_app
from lacy.testing import byte_tokenizer
from lacy.train import FitState, fit
from lacy.tune import tune
from lacy.types import Document, Mark

from .conftest import logits, made

pytest.importorskip("torchao", reason="needs the extra quant")


def rounded(weight_OI):
    """Slow reference: each row has one scale, 255 steps over twice its largest weight.

    That weight lies between two steps, so the product is computed in the same order as torchao's.
    """
    rows = []
    for row_I in weight_OI:
        scale = row_I.abs().max() / 127.5
        rows.append((row_I * (1 / scale)).round().clamp(-128, 127) * scale)
    return torch.stack(rows)


def body(model):
    head = model.get_output_embeddings()
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]


@pytest.fixture(params=["int8", "int8_dynamic"])
def kind(request):
    return request.param


def test_weights_are_rounded_row_by_row(ids_BT):
    plain, mine = made(), made()
    quantized, record = quantize_int8(mine, "int8")
    assert record.matrices == len(quantized_matrices(quantized.model)) == len(body(plain.model))
    for module in body(plain.model):
        module.weight.data = rounded(module.weight.data)
    torch.testing.assert_close(
        logits(quantized.model, ids_BT), logits(plain.model, ids_BT), rtol=1e-4, atol=1e-4
    )


def test_the_head_stays_tied_and_the_row_of_call_exact(loaded, kind):
    row_D = loaded.model.get_output_embeddings().weight[-1].clone()
    before = distinct_bytes(loaded.model)
    quantized, record = quantize_int8(loaded, kind)
    model = quantized.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(model.get_output_embeddings().weight[-1], row_D)
    assert gate_of(model) == "sigmoid"
    assert record.bytes_before == before
    assert record.bytes_after == distinct_bytes(model) < before


def test_the_file_contains_each_tensor_once_and_loads_again(tmp_path, kind, folder, ids_BT):
    out = write_safetensors(load_model(folder), tmp_path / "small", kind)
    again = load_model(out)
    assert quantization_of(again.model) == kind
    assert stored_bytes(out) == distinct_bytes(again.model)
    assert again.meta[FINGERPRINT] == model_fingerprint(again.model) == model_fingerprint(out)
    made_int8 = quantize_int8(load_model(folder), kind)[0]
    assert torch.equal(logits(again.model, ids_BT), logits(made_int8.model, ids_BT))
    assert "## Export" in (out / "README.md").read_text()
    assert again.meta["parameters" if "parameters" in again.meta else "vocabulary"]
    twice = save_model(tmp_path / "twice", again.model, again.tokenizer, again.meta)
    assert torch.equal(logits(load_model(twice).model, ids_BT), logits(again.model, ids_BT))


@pytest.mark.slow
def test_a_fresh_process_reads_it_with_transformers_alone(tmp_path, folder, ids_BT):
    out = write_safetensors(load_model(folder), tmp_path / "small", "int8")
    code = (
        "import torch, transformers\n"
        f"model = transformers.AutoModelForCausalLM.from_pretrained({str(out)!r})\n"
        "ids = torch.arange(1, 41).view(2, 20) * 7 % 256\n"
        f"torch.save(model(input_ids=ids).logits.detach(), {str(tmp_path / 'logits.pt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    theirs = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(theirs, logits(load_model(out).model, ids_BT))


def test_everything_that_reads_a_model_reads_it(loaded, kind, ids_BT):
    quantized = quantize_int8(loaded, kind)[0]
    model = quantized.model
    head = read_head(model)
    assert head.tied and len(head.weight_VD) == model.config.vocab_size
    decoder = new_decoder(model, call_id=quantized.call_id)
    rows = [[5, 6, 7, 8], [9, 10]]
    decoder.read(rows)
    stepped_BV = decoder.step([11, 12])
    for row, tokens, new in zip(stepped_BV, rows, (11, 12), strict=True):
        whole = logits(model, torch.tensor([[*tokens, new]]))[0, -1]
        assert float((row - whole).norm() / whole.norm()) < (1e-4 if kind == "int8" else 0.1)
    before = model_fingerprint(model)
    set_call_row(model, torch.ones(model.config.hidden_size))
    assert model_fingerprint(model) == before
    assert torch.equal(model.get_input_embeddings().weight[-1], torch.ones_like(row_of(model)))


def row_of(model):
    return model.get_output_embeddings().weight[-1]


def test_distinct_tensors_count_a_tied_matrix_once():
    tied, own = made(), made(tied=False)
    matrix = own.model.get_output_embeddings().weight
    assert distinct_bytes(own.model) - distinct_bytes(tied.model) == matrix.nbytes
    names = [name for name, _ in distinct_tensors(tied.model)]
    assert len(names) == len(set(names))


def test_an_untied_head_stays_as_it_is(kind):
    own = made(tied=False)
    row = own.model.get_output_embeddings().weight.detach().clone()
    model = quantize_int8(own, kind)[0].model
    assert torch.equal(model.get_output_embeddings().weight, row)
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight


def test_quantized_models_are_not_quantized_trained_or_exported_again(tmp_path, folder):
    out = write_safetensors(load_model(folder), tmp_path / "small", "int8")
    for use in (
        lambda: quantize_int8(load_model(out), "int8"),
        lambda: write_safetensors(load_model(out), tmp_path / "other", "bf16"),
        lambda: write_gguf(load_model(out), tmp_path / "small.gguf"),
        lambda: from_checkpoint(out),
        lambda: quantization_aware(load_model(out).model).__enter__(),
    ):
        with pytest.raises(LacyError) as caught:
            use()
        assert caught.value.code == "E311"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    same = write_safetensors(load_model(out), tmp_path / "same", "int8")
    assert stored_bytes(same) == stored_bytes(out)
    assert "int8" in set_precision(load_model(out).model, "auto")
    with pytest.raises(LacyError, match="E12"):
        set_precision(load_model(out).model, "bf16")


@pytest.mark.parametrize("precision", ["int4", "intx4", "int4_dynamic"])
def test_four_bits_are_refused_with_what_to_use(loaded, tmp_path, precision):
    for use in (
        lambda: quantize_int8(loaded, precision),
        lambda: write_safetensors(loaded, tmp_path / "small", precision),
        lambda: quantization_aware(loaded.model, precision).__enter__(),
    ):
        with pytest.raises(LacyError, match=r"E312.*\n.*gguf"):
            use()


def test_a_model_that_uses_weights_without_their_layer_is_refused():
    tokenizer = byte_tokenizer()
    mamba = made()
    config = AutoConfig.for_model(
        "mamba", vocab_size=len(tokenizer), hidden_size=32, state_size=4, num_hidden_layers=1
    )
    mamba.model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(LacyError, match=r"E90.*torchao cannot compute it"):
        quantize_int8(mamba)


def test_layers_that_torchao_cannot_quantize_are_refused():
    tokenizer = byte_tokenizer()
    gpt2 = made()
    gpt2.model = build_model("334m", tokenizer, context=16, layers=1, width=32, heads=2)
    with pytest.raises(LacyError, match=r"E90.*no linear layers"):
        quantize_int8(gpt2)


def test_training_with_rounding_computes_what_int8_will_compute(kind, ids_BT):
    mine = made()
    names = [name for name, _ in mine.model.named_parameters()]
    with quantization_aware(mine.model, kind):
        during = logits(mine.model, ids_BT)
        assert [name for name, _ in mine.model.named_parameters()] == names
    assert type(body(mine.model)[0]) is torch.nn.Linear
    after = logits(quantize_int8(mine, kind)[0].model, ids_BT)
    assert float((during - after).norm() / after.norm()) < (1e-5 if kind == "int8" else 0.1)


def test_training_with_rounding_needs_another_row(kind, tmp_path):
    torch.manual_seed(0)
    batch = {"input_ids": torch.randint(1, 200, (8, 32))}
    mine = made()
    with quantization_aware(mine.model, kind):
        state = FitState.start(mine.model, lr=3e-3)
        losses = [done.loss for done in fit(state, [batch] * 12)]
    assert losses[-1] < losses[0]
    out = write_safetensors(mine, tmp_path / "trained", kind)
    with pytest.raises(LacyError, match="E155"):  # the row was fitted on other weights
        load_model(out)
    assert quantized_matrices(load_model(out, verify=False).model)


def marks_of(n, city):
    name, year = len(f"Bell{n}"), len(f"Bell{n} was born in ")
    return (
        Mark(0, name, "ENTITY"),
        Mark(year, year + 4, "DATE"),
        Mark(year + 8, year + 8 + len(city), "ENTITY"),
    )


@pytest.mark.slow
def test_the_row_of_call_is_fitted_again_on_int8_states(tmp_path, folder):
    documents = [
        Document(f"a{n}", f"Bell{n} was born in {1800 + n} in {city}.", {}, marks_of(n, city))
        for n, city in enumerate(["Ulm", "Paris", "Oslo"] * 8)
    ]
    out = write_safetensors(load_model(folder), tmp_path / "small", "int8")
    found = tune(out, documents, out=tmp_path / "tuned")
    again = load_model(found.path)
    assert quantization_of(again.model) == "int8"
    np.testing.assert_allclose(row_of(again.model).detach(), found.row_D, rtol=1e-5)
    assert stored_bytes(found.path) == stored_bytes(out)
    with pytest.raises(LacyError, match="E311"):
        tune(out, documents, out=tmp_path / "lora", depth="lora")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "int8_dynamic"])
def test_a_folder_generates_is_measured_and_served(tmp_path, folder, kind, capsys):
    out = write_safetensors(load_model(folder), tmp_path / "small", kind)
    texts = tmp_path / "texts.txt"
    texts.write_text("Ada Lovelace was born in London.\n" * 3)
    assert main(["generate", str(out), "Ada", "--max-new-tokens", "4"]) == 0
    assert main(["evaluate", str(out), "--texts", str(texts)]) == 0
    capsys.readouterr()
    engine = open_engine(out, max_new_tokens=8)
    expected = engine.generate(["Ada"])[0].continuation
    with TestClient(make_app(Scheduler(engine, streams=2), "small")) as client:
        answer = client.post("/v1/completions", json={"model": "small", "prompt": "Ada"}).json()
    assert answer["choices"][0]["text"] == expected
