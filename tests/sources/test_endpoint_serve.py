"""Endpoint against another project's server: ``transformers serve`` with a tiny model."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.import_utils import is_serve_available

from helpers.letters import speaks_letters
from lacy.model import save_model
from lacy.remote import RemoteError
from lacy.sources.models import Endpoint
from lacy.sources.models.base import DEFAULT_MAX_TOKENS
from lacy.sources.models.partial import PartialCompletion
from lacy.testing import byte_tokenizer
from lacy.types import Request

if not is_serve_available():
    pytest.skip("transformers serve needs fastapi, uvicorn and openai", allow_module_level=True)

pytestmark = pytest.mark.slow
TOKENIZER = byte_tokenizer()
TEXTS = ["Ada was", "Ada Lovelace was born in", "Émile", "x"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return speaks_letters(LlamaForCausalLM(config).eval(), TOKENIZER)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """Yield the address of a running server and the model's name there."""
    folder = tmp_path_factory.mktemp("served")
    save_model(folder / "model", model, TOKENIZER)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            stdout=log, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
    try:
        for _ in range(1500):
            time.sleep(0.2)
            assert process.poll() is None, (folder / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}/v1", str(folder / "model")
    finally:
        process.terminate()
        process.wait(120)


def greedy(model, text, limit):
    """Return the model's text, generated without a cache, and True if the model ended it."""
    ids = [TOKENIZER.bos_token_id, *TOKENIZER.encode(text, add_special_tokens=False)]
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + limit:
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == TOKENIZER.eos_token_id:
                return TOKENIZER.decode(ids[start:], skip_special_tokens=True), True
            ids.append(token)
    return TOKENIZER.decode(ids[start:], skip_special_tokens=True), False


def test_answers_are_those_of_the_model_in_this_process(served, model):
    url, name = served
    with Endpoint(url, name, timeout=60.0) as source:
        requests = [Request(text, unit) for unit in ("word", "value") for text in TEXTS]
        replies = asyncio.run(source.ask(requests))
    answered = 0
    for request, reply in zip(requests, replies, strict=True):
        said, ended = greedy(model, request.text, DEFAULT_MAX_TOKENS[request.unit])
        whole = PartialCompletion(request.text, request.unit, raw=True)
        whole.add(said)
        try:
            wanted = whole.result("stop" if ended else "length")
        except RemoteError as error:  # this random model says parts of characters
            assert str(error) in reply.error
            continue
        assert reply.error is None
        assert [c.text for c in reply.candidates] == ([wanted] if wanted else [])
        answered += bool(wanted)
    assert answered > 2


def test_its_rejections_are_reported(served):
    url, name = served
    with Endpoint(url, "/nowhere/at/all", timeout=60.0, retries=0) as source:
        [reply] = asyncio.run(source.ask([Request("Ada was")]))
    assert reply.fault and "HTTP" in reply.error
    with Endpoint(url.removesuffix("/v1"), name, timeout=60.0) as source:
        [reply] = asyncio.run(source.ask([Request("Ada was")]))
    assert "completions: HTTP 404" in reply.error and "chat: HTTP 404" in reply.error
