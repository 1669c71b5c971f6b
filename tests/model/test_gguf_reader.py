"""Headers of GGUF files: the fields of gguf's own reader, with few reads, once per model."""

import copy

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.model import load_model
from lacy.model.gguf import write_gguf
from lacy.model.gguf_reader import read_header
from lacy.model.gguf_shapes import shape_of
from lacy.model.io import Loaded

pytest.importorskip("gguf", reason="needs the extra gguf")
import gguf

LARGE = 30_000
"""Number of tokens; the largest vocabularies in use have nine times as many."""

VALUES = {
    "one": 7, "text": "naïve\n東京", "flag": True, "share": 0.25,
    "texts": ["", "a", "東京 😀", "x" * 300], "numbers": [1, -2, 3], "shares": [0.5, 1.5],
    "flags": [True, False], "bytes": b"\x00\xff", "nested": [[1, 2], [3]],
}  # fmt: skip


def write_values(path, order):
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    for name, value in VALUES.items():
        kinds = gguf.GGUFValueType
        kind = kinds.ARRAY if isinstance(value, list | bytes) else kinds.get_type(value)
        writer.add_key_value(f"x.{name}", value, kind)
    writer.add_tensor("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
def test_fields_and_tensors_are_those_of_the_slow_reader(tmp_path, order):
    file = write_values(tmp_path / "x.gguf", gguf.GGUFEndian[order])
    expected, found = gguf.GGUFReader(file), read_header(file)
    assert list(found.fields) == list(expected.fields)
    for name, field in expected.fields.items():
        same = found.fields[name]
        assert (same.offset, same.data, same.types) == (field.offset, field.data, field.types), name
        assert len(same.parts) == len(field.parts)
        for part, wanted in zip(same.parts, field.parts, strict=True):
            assert part.dtype == wanted.dtype and np.array_equal(part, wanted), name
    assert found.fields["x.texts"].contents() == VALUES["texts"]
    assert found.fields["x.numbers"].contents() == VALUES["numbers"]
    [tensor], [wanted] = found.tensors, expected.tensors
    assert tensor.name == wanted.name and np.array_equal(tensor.data, wanted.data)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """A tiny Gemma 3 as GGUF with a large SentencePiece vocabulary, and the model."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=LARGE, hidden_size=32, intermediate_size=48, num_hidden_layers=6,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16,
        max_position_embeddings=64, sliding_window=32, pad_token_id=0, eos_token_id=1,
        bos_token_id=2,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    file = tmp_path_factory.mktemp("gemma") / "gemma.gguf"
    writer = gguf.GGUFWriter(file, "gemma3")
    shape = shape_of(model, file)
    shape.add_fields(writer)
    letters = [*"▁abcdefghijklmnopqrstuvwxyz"]
    pieces = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        *(f"<0x{n:02X}>" for n in range(256)),
        *letters,
    ]
    pieces += ["ma", "ri", "mari", "cu", "rie", "curie"]
    pieces += [f"<unused{n}>" for n in range(LARGE - len(pieces))]
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(n) for n in range(LARGE)])
    writer.add_token_types([control] * 5 + [normal] * (LARGE - 5))
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_add_space_prefix(False)
    for key, weight in model.state_dict().items():
        if key != "lm_head.weight":
            name, data = shape.convert(key, weight.numpy())
            writer.add_tensor(name, np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file, model


def test_a_large_vocabulary_is_read_at_once_and_once(gemma, monkeypatch, tmp_path):
    file, model = gemma
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))
    reads, headers = [], []
    get, fields = gguf.GGUFReader._get, gguf.GGUFReader._build_fields

    def counted(self, *args, **kwargs):
        reads.append(1)
        return get(self, *args, **kwargs)

    def built(self, *args):
        headers.append(1)
        return fields(self, *args)

    monkeypatch.setattr(gguf.GGUFReader, "_get", counted)
    monkeypatch.setattr(gguf.GGUFReader, "_build_fields", built)
    loaded = load_model(file)
    assert len(headers) == 1
    assert len(reads) < 2_000 < LARGE
    assert loaded.tokenizer.tokenize("mari curie") == ["mari", "▁", "curie"]
    ids = torch.tensor([[2, *loaded.tokenizer.encode("mari curie", add_special_tokens=False)]])
    with torch.no_grad():
        expected, found = model(ids).logits, loaded.model(ids).logits
    torch.testing.assert_close(found[..., :LARGE], expected, atol=1e-4, rtol=1e-4)
    load_model(file)  # from the cache
    assert len(headers) == 1


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny Llama."""
    tokenizer = train_tokenizer(["mari curie was born in 1867"] * 20, 280)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        initializer_range=0.2, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    torch.manual_seed(0)
    return Loaded(LlamaForCausalLM(config).eval(), tokenizer)


def with_header(loaded, path, change):
    """Write a model as GGUF with further entries; return the file."""
    original = gguf.GGUFWriter.write_header_to_file

    def write(self, *args, **kwargs):
        change(self)
        original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "write_header_to_file", write)
        return write_gguf(loaded, path, "f32")


def test_linearly_scaled_positions_are_read(llama, monkeypatch, tmp_path):
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))

    def scale(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    found = load_model(with_header(llama, tmp_path / "m.gguf", scale)).model
    config = copy.deepcopy(llama.model.config)
    config.rope_parameters = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
    scaled = LlamaForCausalLM(config).eval()
    scaled.load_state_dict(llama.model.state_dict())
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        expected, plain, logits = scaled(ids).logits, llama.model(ids).logits, found(ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert (expected - plain).abs().max() > 1e-3


@pytest.mark.parametrize("how", ["a type", "a tensor"])
def test_other_scaled_positions_are_a_warning(llama, monkeypatch, tmp_path, caplog, how):
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))

    def scale(writer):
        if how == "a type":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        else:
            writer.add_tensor("rope_freqs.weight", np.array([1, 1, 1, 1, 1, 2, 4, 8], np.float32))

    load_model(with_header(llama, tmp_path / "m.gguf", scale))
    assert "m.gguf has scaled positions" in caplog.text
    caplog.clear()
    load_model(write_gguf(llama, tmp_path / "plain.gguf", "f32"))
    assert "scaled positions" not in caplog.text


@pytest.mark.parametrize("part", [0.2, 0.5, 0.7])
def test_a_file_that_ends_within_the_vocabulary_is_incomplete(gemma, monkeypatch, tmp_path, part):
    file, _ = gemma
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))
    header = read_header(file).data_offset
    half = tmp_path / "half.gguf"
    half.write_bytes(file.read_bytes()[: int(header * part)])
    with pytest.raises(LacyError, match="not fully downloaded") as caught:
        load_model(half)
    assert caught.value.code == "E134"
