"""A separate gate through llama.cpp's own server: the calls of the model in process."""

import httpx
import numpy as np
import openai
import pytest
import torch

from helpers.llama_server import llama_server, needs_llama
from helpers.models import SCRATCH
from helpers.serving import serving
from helpers.waiting import PATIENCE
from lacy.cascade import Engine
from lacy.cascade.hosted_model import connect
from lacy.cascade.hosted_scores import log_likelihood
from lacy.cli import main
from lacy.corpus import TokenText, train_tokenizer
from lacy.errors import LacyError
from lacy.model import Decoder, build_model, gate_of, load_model, save_model
from lacy.model.gguf_gate import gate_rows
from lacy.sources import ScriptedSource
from lacy.world import make_world

pytest.importorskip("gguf", reason="needs the extra gguf")

PROMPTS = ["Ada Lovelace was born", "In 1879 ", "The user typed <CALL> here"]
LETTERS = "abcdefghijklmnop"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights that say letters, and a gate that is open at about a third of all places."""
    tokenizer = train_tokenizer(["zq" * 9] * 9, 260)
    model = build_model("tiny", tokenizer, context=96, seed=1, tied=False)
    spoken = [tokenizer.encode(letter)[0] for letter in LETTERS]
    head = model.get_output_embeddings().weight.data
    silent = torch.ones(len(tokenizer), dtype=torch.bool)
    silent[[*spoken, len(tokenizer) - 1]] = False
    head[silent] = 0.0
    head[spoken] *= 12.0
    head[-1] *= 8.0
    model.config.lacy_gate = "sigmoid"
    return save_model(tmp_path_factory.mktemp("gate") / "slm", model, tokenizer, SCRATCH)


@pytest.fixture(scope="module")
def url(folder):
    path = folder.with_name("slm.gguf")
    assert main(["export", str(folder), "--out", str(path), "--precision", "f32"]) == 0
    with llama_server(path) as address:
        yield address


def answered(request):
    return [" London,", " 10 December;", " Paris,"] if len(request.text) % 2 else " 1815,"


def seen(answers):
    return [[(s.text, s.speaker, s.tokens, s.asked) for s in a.spans] for a in answers]


def test_the_two_rows_differ_by_the_gates_row_and_are_reported(folder):
    loaded = load_model(folder)
    call, reference = gate_rows(loaded)
    head = loaded.model.get_output_embeddings().weight.detach()
    assert np.abs((call - reference) - head[-1].numpy()).max() < 1e-6
    text = next(make_world(people=90, seed=5).documents("train")).text
    ids = torch.tensor([[0, *TokenText(loaded.tokenizer).encode(text)[:95]]])
    with torch.inference_mode():
        hidden = loaded.model.base_model(ids).last_hidden_state[0]
    last = (hidden @ head[:-1].T).topk(18, dim=1).values[:, -1]
    assert (hidden @ torch.tensor(reference) > last).float().mean() > 0.95


@needs_llama
@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    ["never", "threshold=0", "threshold=1", "budget=0.2", "threshold=0.6,by=p_call", "top2=1"],
)
def test_the_gate_decides_as_in_process(url, folder, policy):
    hosted = connect(f"{url}/v1", "slm", folder, top=400)
    mine = Engine(load_model(folder), ScriptedSource(answered), policy, read=0, max_new_tokens=16)
    theirs = Engine(hosted, ScriptedSource(answered), policy, max_new_tokens=16)
    expected, found = mine.generate(PROMPTS), theirs.generate(PROMPTS)
    assert seen(found) == seen(expected)
    assert policy == "never" or sum(answer.calls for answer in found) > 0
    assert hosted.guessed == 0


@needs_llama
@pytest.mark.slow
def test_other_clients_never_meet_the_two_tokens(url, folder):
    size = len(load_model(folder).tokenizer)
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for seed in range(5):
            body = {"prompt": PROMPTS[0], "n_predict": 40, "temperature": 5.0, "seed": seed}
            said = client.post("/completion", json={**body, "return_tokens": True}).json()["tokens"]
            assert len(said) > 3 and max(said) < size - 1


@needs_llama
@pytest.mark.slow
@pytest.mark.parametrize("special", [True, False])
def test_typing_the_name_of_the_token_gives_its_letters(url, folder, special):
    """Even where llama.cpp reads the names of special tokens in a text as these tokens."""
    text = "say <CALL> and <CALL_REFERENCE>"
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        body = {"content": text, "parse_special": special}
        tokens = client.post("/tokenize", json=body).json()["tokens"]
    assert tokens == TokenText(load_model(folder).tokenizer).encode(text)


@needs_llama
@pytest.mark.slow
def test_an_openai_client_that_types_it_gets_no_call(url, folder):
    """Through lacy in front of llama.cpp, with the text of the model in process."""
    hosted = connect(f"{url}/v1", "slm", folder, top=400)
    theirs = Engine(hosted, ScriptedSource(answered), "threshold=1", max_new_tokens=12)
    mine = Engine(
        load_model(folder), ScriptedSource(answered), "threshold=1", read=0, max_new_tokens=12
    )
    (expected,) = mine.generate(PROMPTS[2:])
    with serving(theirs, streams=2) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", timeout=PATIENCE)
        answer = client.completions.create(model="slm", prompt=PROMPTS[2], max_tokens=12)
    assert answer.choices[0].text == expected.continuation
    begin = 1  # the begin token
    assert answer.usage.prompt_tokens == begin + len(hosted.server.token_text.encode(PROMPTS[2]))


def test_a_server_without_the_reference_cannot_host_a_gate(folder):
    from helpers import hosted_app

    loaded = load_model(folder)
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (address, _):
        hosted = connect(address, "slm", folder)
        with pytest.raises(LacyError, match=r"(?s)E92.*lacy export --to gguf"):
            Engine(hosted, None, "threshold=0")
        Engine(hosted, None, "never").generate(PROMPTS[:1], max_new_tokens=2)


@pytest.mark.parametrize("gate", ["sigmoid", "softmax"])
def test_likelihoods_behind_a_server_equal_those_in_process(folder, tmp_path, gate):
    """Only a ``<CALL>`` in the softmax takes probability from the end of a value."""
    from helpers import hosted_app

    loaded = load_model(folder)
    loaded.model.config.lacy_gate = gate
    place = save_model(tmp_path / "slm", loaded.model, loaded.tokenizer, SCRATCH)
    encode = TokenText(loaded.tokenizer).encode
    ids, values, ends = [0, *encode("Mara")], [encode("ab"), encode("hole")], encode(".,ae")
    decoder = Decoder(loaded.model, call_id=loaded.call_id)
    decoder.feed([ids])
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (address, _):
        server = connect(address, "slm", place, top=len(loaded.tokenizer)).server
        told = server.run(server.score_texts([(ids, v, True) for v in values]))
    for which in (None, ends):
        (expected,) = decoder.score([0], [values], whole=True, ends=which)
        found = [log_likelihood(t, v, server, which) for t, v in zip(told, values, strict=True)]
        assert found == pytest.approx(expected, abs=1e-3)


@needs_llama
@pytest.mark.slow
def test_the_file_opens_in_lacy_with_its_gate(url, folder, tmp_path, monkeypatch):
    """The row is the gate's again, and the text logits are those of the model."""
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))  # for the converted folder
    back, loaded = load_model(folder.with_name("slm.gguf")), load_model(folder)
    assert (len(back.tokenizer), back.call_id) == (len(loaded.tokenizer), loaded.call_id)
    assert gate_of(back.model) == "sigmoid"
    ids = torch.tensor([[0, *TokenText(loaded.tokenizer).encode(PROMPTS[2])]])
    with torch.inference_mode():
        difference = back.model(ids).logits - loaded.model(ids).logits
    assert difference.abs().max() < 1e-3
    for text in PROMPTS:
        assert TokenText(back.tokenizer).encode(text) == TokenText(loaded.tokenizer).encode(text)
