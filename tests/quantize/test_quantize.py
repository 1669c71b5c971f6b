"""Whole models in blocks: what is measured is what the file contains."""

import shutil

import gguf
import pytest
import torch

from helpers.quantizable import DOCUMENTS, TOKENIZER, copied, family, llama, logits, rows
from lacy.errors import LacyError
from lacy.model import (
    BLOCK_TYPES,
    BlockMatrix,
    load_model,
    set_call_row,
    set_gate,
    write_gguf,
)
from lacy.quantize import quantize
from lacy.quantize.parts import matrices_of, sizes_of, tables_of

METHODS = ["nearest", "search", "gptq"]


def divergence(loaded, reference):
    """Mean KL divergence of the model from its original on the calibration texts."""
    total = count = 0.0
    for ids_BT in rows():
        with torch.no_grad():
            old, new = (
                m.model(input_ids=ids_BT).logits.log_softmax(-1) for m in (reference, loaded)
            )
        total += float((old.exp() * (old - new)).sum())
        count += ids_BT.numel()
    return total / count


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_file_contains_the_weights_that_were_measured(tmp_path, method, tied):
    quantized = quantize(llama(tied=tied), rows(), "q4_1", table="q5_1", method=method)
    model = quantized.loaded.model
    found = load_model(quantized.write(tmp_path / "m.gguf")).model.state_dict()
    assert found.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma3_text", "phi3", "gpt2", "mistral"])
def test_the_file_of_other_families(tmp_path, kind):
    """The same numbers in the same places as in a file of the dequantised weights."""
    quantized = quantize(family(kind), rows(), "q5_0", method="gptq")
    path = quantized.write(tmp_path / "m.gguf")
    plain = write_gguf(quantized.loaded, tmp_path / "plain.gguf", "f32")
    expected = {tensor.name: tensor for tensor in gguf.GGUFReader(plain).tensors}
    found = gguf.GGUFReader(path).tensors
    assert {tensor.name for tensor in found} == expected.keys()
    for tensor in found:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert (values == expected[tensor.name].data).all(), tensor.name


def test_types_and_sizes_of_the_file(tmp_path):
    loaded = llama(tied=True)
    names = list(matrices_of(loaded.model))
    types = dict(zip(names, [*BLOCK_TYPES] * 3, strict=False))
    quantized = quantize(loaded, rows(), types, table="q5_1", method="search")
    path = quantized.write(tmp_path / "m.gguf")
    reader = gguf.GGUFReader(path)
    kinds = {tensor.name: tensor.tensor_type.name.lower() for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == "q5_1" and "output.weight" not in kinds
    assert kinds["blk.0.attn_q.weight"] == types["model.layers.0.self_attn.q_proj.weight"]
    assert kinds["blk.1.ffn_down.weight"] == types["model.layers.1.mlp.down_proj.weight"]
    assert kinds["blk.0.attn_norm.weight"] == "f32"
    matrices = sum(t.n_bytes for t in reader.tensors if t.tensor_type.name != "F32")
    assert quantized.report.bytes == matrices
    weights = sum(rows * columns for rows, columns in sizes_of(loaded.model).values())
    assert quantized.report.bits_per_weight == pytest.approx(8 * matrices / weights)
    assert [m.kind for m in quantized.report.matrices[1:]] == list(types.values())


def test_better_methods_lose_less():
    reference = llama()
    lost = [
        divergence(quantize(copied(reference), rows(), "q4_0", method=method).loaded, reference)
        for method in METHODS
    ]
    assert lost[2] < 0.8 * lost[1] and lost[1] < lost[0]


def test_the_best_of_all_methods_is_kept():
    report = quantize(llama(), rows(), "q4_0").report
    assert report.matrices[0].how == "search"  # the tied embedding
    assert {m.how for m in report.matrices[1:]} == {"gptq"}
    assert all(0 < m.error < 0.02 for m in report.matrices if m.error is not None)
    assert report.tokens == sum(ids_BT.numel() for ids_BT in rows())
    assert report.main_kind == "q4_0" and not report.lossless


def test_an_embedding_that_is_no_head_is_searched():
    report = quantize(llama(tied=False), rows(), "q4_0", table="q4_0").report
    embedding, head = report.matrices[:2]
    assert (embedding.how, embedding.error) == ("search", None)
    assert head.how == "search" and 0 < head.error < 0.02


def test_a_quantized_model_is_kept_bit_by_bit(tmp_path):
    first = quantize(llama(), rows(), "q4_1", table="q5_1")
    again = load_model(first.write(tmp_path / "m.gguf"))
    before, said = logits(again), []
    second = quantize(again, rows(), "q4_1", table="q8_0", notify=said.append)
    assert torch.equal(logits(second.loaded), before)
    assert second.report.lossless and second.report.bytes == first.report.bytes
    assert len(said) == 1 and "lossless" not in said[0] and "bit by bit" in said[0]
    second.write(tmp_path / "n.gguf")
    files = [gguf.GGUFReader(tmp_path / name).tensors for name in ("m.gguf", "n.gguf")]
    for old, new in zip(*files, strict=True):
        values = [gguf.quants.dequantize(t.data, t.tensor_type) for t in (old, new)]
        assert old.name == new.name and (values[0] == values[1]).all()


def test_a_second_rounding_is_never_silent():
    first, said = quantize(llama(), rows(), "q5_1"), []
    second = quantize(first.loaded, rows(), "q4_0", notify=said.append)
    assert {m.was for m in second.report.matrices} == {"q5_1", "q8_0"}
    assert any("Rounded a second time" in sentence for sentence in said)


def test_one_changed_matrix_is_rounded_and_the_others_are_kept():
    loaded = quantize(llama(), rows(), "q4_1").loaded
    name, changed = list(matrices_of(loaded.model).items())[5]
    changed.set_weight(changed.weight_OI + torch.randn_like(changed.weight_OI) * 0.01)
    report = quantize(loaded, rows(), "q4_1").report
    assert {m.name for m in report.matrices if m.how != "kept"} == {name}


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_call_row_may_be_set_afterwards(tmp_path, gate):
    quantized = quantize(llama(), rows(), "q4_1", table="q8_0", method="search")
    loaded = quantized.loaded
    row_D = torch.randn(64) * 0.3
    set_call_row(loaded.model, row_D)
    set_gate(loaded.model, gate)
    path = quantized.write(tmp_path / "m.gguf", [d.text for d in DOCUMENTS])
    found = load_model(path)
    head = found.model.get_output_embeddings().weight
    assert torch.allclose(head[-1], row_D, atol=0.05)  # the reference row has larger numbers
    assert torch.equal(head[:-1], loaded.model.get_output_embeddings().weight[:-1])
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    extra = int(gate == "sigmoid")
    assert list(tensors["token_embd.weight"].shape) == [64, len(TOKENIZER) + extra]


def test_any_other_change_afterwards_is_an_error(tmp_path):
    quantized = quantize(llama(), rows(), method="nearest")
    quantized.loaded.model.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
    with pytest.raises(LacyError, match=r"E283.*layers.1.mlp.up_proj"):
        quantized.write(tmp_path / "m.gguf")
    quantized = quantize(llama(), rows(), method="nearest")
    quantized.loaded.model.get_input_embeddings().weight.data[0, 0] += 1
    with pytest.raises(LacyError, match=r"E283.*embed_tokens"):
        quantized.write(tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_too_little_disk_space_is_an_error_before_work_starts(tmp_path, monkeypatch):
    quantized = quantize(llama(), method="nearest")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1_000_000))
    with pytest.raises(LacyError, match=r"E284.*1 MB free"):
        quantized.write(tmp_path / "new" / "m.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"types": "q3_k"}, "E12"),
        ({"table": "q6_k"}, "E12"),
        ({"method": "awq"}, "E12"),
        ({"rows": ()}, "E12"),
        ({"types": {"model.layers.7.mlp.up_proj.weight": "q4_0"}}, "E12"),
        ({"types": {"model.layers.1.mlp.up_proj.weight": "q4_0"}}, "E12"),
    ],
)
def test_mistakes_are_named_before_the_model_changes(given, code):
    loaded = llama()
    before = logits(loaded)
    with pytest.raises(LacyError, match=code):
        quantize(loaded, **{"rows": rows(), **given})
    assert torch.equal(logits(loaded), before)


def test_models_that_cannot_be_quantized():
    odd = llama(hidden_size=48, intermediate_size=96)
    with pytest.raises(LacyError, match=r"E282.*48 weights"):
        quantize(odd, rows())
    broken = llama()
    broken.model.model.layers[0].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(LacyError, match=r"E133.*up_proj"):
        quantize(broken, rows())
    with pytest.raises(LacyError, match="E90"):
        quantize(family("gpt_neox"), rows())


def test_tables_of_untied_models_are_two():
    assert len(tables_of(llama(tied=False).model)) == 2 and len(tables_of(llama().model)) == 1


def test_the_model_computes_with_dequantized_weights():
    quantized = quantize(llama(), rows(), "iq4_nl")
    for name, matrix in matrices_of(quantized.loaded.model).items():
        assert torch.equal(matrix.weight_OI, quantized.blocks[name].dequantized())
    assert isinstance(next(iter(quantized.blocks.values())), BlockMatrix)
