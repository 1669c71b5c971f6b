"""Rows that stay in the model's file: same numbers, less memory, and clear refusals."""

import gc
import os
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Gemma2Config, Gemma2ForCausalLM

from helpers.models import ALL, gpt2, llama
from helpers.raw import raw_llama, save_raw
from lacy.errors import LacyError
from lacy.model import Loaded, load_model, save_model
from lacy.vocabulary import memory_by_stage, tailor, task_vocabulary
from lacy.vocabulary.stored import LatestRows, StoredRows, drop_file_pages

TOKENIZER = ALL["byte_level"]
SMALL = task_vocabulary(TOKENIZER, [("", "Ulm and Zürich")], tolerance=0)


def prompt(loaded):
    return torch.tensor([loaded.tokenizer("Mara Vell was", add_special_tokens=False)["input_ids"]])


def generate(loaded):
    ids = prompt(loaded)
    with torch.no_grad():
        return loaded.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip


def gemma():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def saved(folder, model):
    save_model(folder, model, TOKENIZER)
    return load_model(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 20), max_size=12), more=st.integers(0, 2), most=st.integers(1, 5)
)
def test_stored_rows_are_those_of_the_matrix(ids, more, most, dtype, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "m.safetensors"
    weight = torch.randn(21, 6, generator=torch.Generator().manual_seed(more)).to(dtype)
    save_file({"a": torch.ones(3, 5), "w": weight[: 21 - more].clone()}, path)
    table = StoredRows(path, "w", torch.float32, weight[21 - more :])
    assert table.shape == (21, 6)
    assert torch.equal(table.rows(ids), weight[ids].float())
    starts, parts = zip(*table.blocks(), strict=True)
    assert torch.equal(torch.cat(parts), weight.float()) and starts[0] == 0
    latest = LatestRows(table, most)
    for number in ids:
        assert torch.equal(latest.rows([number, 0]), weight[[number, 0]].float())
        assert len(latest._kept) <= most
    assert latest.read <= 2 * len(ids)


@pytest.mark.parametrize("make", [
    lambda: llama(TOKENIZER).model, lambda: gpt2(TOKENIZER).model, gemma,
])  # fmt: skip
@pytest.mark.parametrize("mode", ["static", "hybrid", "dynamic"])
def test_an_offloaded_model_writes_the_same_and_comes_back(make, mode, tmp_path):
    loaded = saved(tmp_path / "m", make())
    wanted = generate(loaded)
    before = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    vocabulary = None if mode == "dynamic" else SMALL
    tailored = tailor(loaded, vocabulary, mode, offload=True)
    assert torch.equal(generate(loaded), wanted)
    with torch.no_grad(), tailored.head.everything():
        whole = loaded.model(prompt(loaded)).logits
    tailored.restore()
    assert torch.equal(generate(loaded), wanted)
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    tied = loaded.model.config.tie_word_embeddings
    assert tied == (
        loaded.model.get_input_embeddings().weight is loaded.model.get_output_embeddings().weight
    )
    with torch.no_grad():
        assert torch.allclose(loaded.model(prompt(loaded)).logits, whole, atol=1e-5)


def test_the_matrices_are_freed(tmp_path):
    loaded = saved(tmp_path / "m", llama(TOKENIZER).model)
    matrices = [
        weakref.ref(loaded.model.get_input_embeddings().weight),
        weakref.ref(loaded.model.get_output_embeddings().weight),
    ]
    tailor(loaded, SMALL, offload=True)
    gc.collect()
    assert [matrix() for matrix in matrices] == [None, None]
    sizes = sum(p.numel() for p in loaded.model.parameters())
    assert sizes < 2 * len(TOKENIZER) * 32


def resident(file):
    """Resident bytes of a file that is mapped in this process."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(file))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="pages are dropped on Linux only")
def test_pages_of_a_file_are_dropped_and_read_again(tmp_path):
    numbers = torch.arange(1 << 20, dtype=torch.float32)
    save_file({"a": numbers, "b": -numbers}, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        a, b = file.get_tensor("a"), file.get_tensor("b")
    assert a.sum() == -b.sum()
    before = resident(tmp_path / "m.safetensors")
    dropped = drop_file_pages(a)
    assert before >= 2 * a.nbytes and a.nbytes - 8192 < dropped <= a.nbytes
    assert resident(tmp_path / "m.safetensors") == before - dropped
    assert torch.equal(a, numbers) and torch.equal(b, -numbers)
    own = torch.ones(1 << 20)
    assert drop_file_pages(own) == 0 and own.sum() == 1 << 20
    assert drop_file_pages(torch.empty(0)) == 0


def test_a_raw_model_has_a_row_that_the_file_lacks(tmp_path):
    save_raw(tmp_path / "m", raw_llama(padding=3))
    loaded = load_model(tmp_path / "m")
    wanted = generate(loaded)
    tailored = tailor(loaded, offload=True)
    assert torch.equal(generate(loaded), wanted)
    assert tailored.head.table.shape[0] == 258


def test_refusals_are_explained(tmp_path):
    with pytest.raises(LacyError, match=r"E276.*memory only"):
        tailor(Loaded(llama(TOKENIZER).model, TOKENIZER), offload=True)
    loaded = saved(tmp_path / "m", llama(TOKENIZER).model)
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.mul_(2)
    with pytest.raises(LacyError, match=r"E276.*changed"):
        tailor(loaded, offload=True)
    path = tmp_path / "ints.safetensors"
    save_file({"w": torch.ones(3, 4, dtype=torch.int8)}, path)
    with pytest.raises(LacyError, match=r"E276.*I8"):
        StoredRows(path, "w", torch.float32, torch.empty(0, 4))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory by stage is measured on Linux only")
def test_memory_is_measured_by_stage_in_a_process_of_its_own(tmp_path, monkeypatch):
    torch.manual_seed(0)
    save_raw(tmp_path / "m", raw_llama(context=512))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    stages = memory_by_stage(tmp_path / "m", "dynamic", offload=True, new_tokens=4)
    names = ["imported", "loaded", "tailored", "prefilled", "generated"]
    assert [stage.stage for stage in stages] == names
    assert all(stage.own > 1 << 20 for stage in stages)
    monkeypatch.setattr("lacy.vocabulary.memory.SECONDS", 0.1)
    with pytest.raises(LacyError, match=r"E277.*no result after 0\.1 s"):
        memory_by_stage(tmp_path / "m")
