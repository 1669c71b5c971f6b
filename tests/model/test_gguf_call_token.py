"""The type of ``<CALL>`` in a GGUF file decides what llama.cpp and its clients make of it.

lacy writes a *normal* token. These tests hold what llama.cpp does with each type, so that a new
version of it that changes this is noticed.
"""

import httpx
import pytest
import torch

from helpers.llama_server import llama_server, needs_llama
from helpers.models import SCRATCH
from lacy.corpus import train_tokenizer
from lacy.model import Loaded, build_model, write_gguf

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")
pytestmark = [pytest.mark.slow, needs_llama]

KINDS = gguf.TokenType
PROMPT = "ab"
EOM = b"tokenizer.ggml.eom_token_id"


@pytest.fixture(scope="module")
def loaded():
    """After PROMPT, <CALL> is by far the likeliest token; otherwise letters are."""
    tokenizer = train_tokenizer(["zq" * 9] * 9, 260)
    model = build_model("tiny", tokenizer, context=64, seed=3, tied=False).eval()
    head = model.get_output_embeddings().weight.data
    spoken = [tokenizer.encode(letter)[0] for letter in "abcdefghijklmnop"]
    silent = torch.ones(len(tokenizer), dtype=torch.bool)
    silent[[*spoken, len(tokenizer) - 1]] = False
    head[silent] = 0.0
    ids = torch.tensor([[0, *tokenizer.encode(PROMPT)]])
    with torch.no_grad():
        head[-1] = model.base_model(input_ids=ids).last_hidden_state[0, -1]
    return Loaded(model, tokenizer, SCRATCH)


@pytest.fixture(scope="module", params=[KINDS.NORMAL, KINDS.CONTROL, KINDS.USER_DEFINED])
def served(request, loaded, tmp_path_factory):
    """A server of the model, with <CALL> of one type and no end token; yields type and address."""
    path = write_gguf(loaded, tmp_path_factory.mktemp("kind") / "slm.gguf", "f32")
    content = path.read_bytes()
    assert content.count(EOM) == 1
    path.write_bytes(content.replace(EOM, EOM.replace(b"eom", b"xxx")))
    types = gguf.GGUFReader(path, "r+").fields["tokenizer.ggml.token_type"]
    types.parts[types.data[-1]][:] = int(request.param)
    with llama_server(path) as url:
        yield request.param, url


def post(url, place, **body):
    answer = httpx.post(f"{url}/{place}", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()


def complete(url, **more):
    return post(url, "completion", prompt=PROMPT, n_predict=2, temperature=0.0, **more)


def test_only_some_types_are_seen_in_the_text(served, loaded):
    kind, url = served
    told = complete(url, return_tokens=True)
    assert told["tokens"][0] == loaded.call_id
    assert told["content"].startswith("<CALL>") == (kind != KINDS.CONTROL)


def test_a_stop_word_meets_only_what_is_seen(served):
    kind, url = served
    told = complete(url, stop=["<CALL>"])
    assert (told["stop_type"] == "word") == (kind != KINDS.CONTROL)
    if kind != KINDS.CONTROL:
        assert told["stopping_word"] == "<CALL>" and told["content"] == ""


def test_a_ban_by_id_works_for_every_type(served, loaded):
    _, url = served
    told = complete(url, return_tokens=True, logit_bias=[[loaded.call_id, False]])
    assert loaded.call_id not in told["tokens"]


def test_a_bias_by_name_works_only_where_the_name_is_the_token(served, loaded):
    kind, url = served
    told = complete(url, return_tokens=True, logit_bias=[["<CALL>", False]])
    assert (loaded.call_id not in told["tokens"]) == (kind == KINDS.USER_DEFINED)


def test_only_a_user_defined_token_can_be_typed_as_text(served, loaded):
    kind, url = served
    for special, typed in (
        (False, kind == KINDS.USER_DEFINED),
        (True, kind in (KINDS.USER_DEFINED, KINDS.CONTROL)),
    ):
        told = post(url, "tokenize", content="a <CALL>", parse_special=special, add_special=False)
        assert (loaded.call_id in told["tokens"]) == typed


def test_a_plain_client_of_openai_runs_a_cascade(loaded, tmp_path):
    """The file that lacy writes: generation ends at <CALL>, whose name ends the client's text."""
    openai = pytest.importorskip("openai", reason="needs the package openai")
    values, room = ["ab", "cd", "abc"], 40
    path = write_gguf(loaded, tmp_path / "slm.gguf", "f32")
    with llama_server(path) as url:
        client, found, calls = openai.OpenAI(base_url=f"{url}/v1", api_key="none"), PROMPT, 0
        while len(found) < room:
            text = client.completions.create(
                model="slm", prompt=found, max_tokens=room - len(found), temperature=0
            ).choices[0].text  # fmt: skip
            found += text.removesuffix("<CALL>")
            if not text.endswith("<CALL>") or calls == len(values):
                break
            found += values[calls]
            calls += 1
    assert (found, calls) == slow_cascade(loaded, values, room) and calls


def slow_cascade(loaded, values, room):
    """Decode greedily in torch; append a value where <CALL> is the likeliest token."""
    ids, calls = [0, *loaded.tokenizer.encode(PROMPT)], 0
    while len(ids) <= room:
        with torch.no_grad():
            best = int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if best != loaded.call_id:
            ids.append(best)
        elif calls == len(values):
            break
        else:
            ids += loaded.tokenizer.encode(values[calls])
            calls += 1
    return loaded.tokenizer.decode(ids[1:]), calls
