"""llama.cpp's own server and the command line hold a model as the tests' server does."""

import json

import httpx
import pytest
import torch
from fastapi.testclient import TestClient

from helpers import hosted_app
from helpers.llama_server import llama_server, needs_llama
from helpers.models import SCRATCH
from helpers.waiting import PATIENCE
from lacy.cascade import Engine
from lacy.cascade.hosted_model import connect
from lacy.cli import main
from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.model import build_model, load_model, save_model
from lacy.serve import Scheduler, make_app
from lacy.sources import ScriptedSource

pytestmark = pytest.mark.slow

POLICIES = ["never", "always", "threshold=0", "threshold=1.5", "random=0.3", "budget=0.2", "top2=1"]
PROMPTS = ["Ada Lovelace was born", "In 1879 "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights over letters that no merge joins, so that every text has one cut; calls."""
    tokenizer = train_tokenizer(["zq" * 9] * 9, 260)
    model = build_model("tiny", tokenizer, context=96, seed=1, tied=False)
    spoken = [tokenizer.encode(letter)[0] for letter in "abcdefghijklmnop"]
    head = model.get_output_embeddings().weight.data
    silent = torch.ones(len(tokenizer), dtype=torch.bool)
    silent[[*spoken, len(tokenizer) - 1]] = False
    head[silent] = 0.0
    head[spoken] *= 12.0
    head[-1] *= 20.0
    return save_model(tmp_path_factory.mktemp("llama") / "slm", model, tokenizer, SCRATCH)


@pytest.fixture(scope="module")
def llama(folder):
    """The address of llama.cpp's server over the model."""
    pytest.importorskip("gguf", reason="needs the extra gguf")
    path = folder.with_name("slm.gguf")
    assert main(["export", str(folder), "--out", str(path), "--precision", "f32"]) == 0
    with llama_server(path) as url:
        yield f"{url}/v1"


def answered(request):
    # With signs at the end, because the model never continues a word of a source by its letters.
    return [" London,", " 10 December;", " Paris,"] if len(request.text) % 2 else " 1815,"


def seen(answers):
    return [
        [(s.text, s.speaker, s.tokens, s.asked, s.evidence) for s in a.spans] + [a.finished]
        for a in answers
    ]


@needs_llama
@pytest.mark.parametrize(
    "policy",
    ["never", "always", "threshold=0", "threshold=1.5", "random=0.3", "budget=0.2", "top2=1"],
)
def test_llama_cpp_says_the_same_as_in_process(llama, folder, policy):
    mine = Engine(load_model(folder), ScriptedSource(answered), policy, read=0, max_new_tokens=12)
    hosted = connect(llama, "slm", folder, top=400)
    assert hosted.server.dialect == "llama"
    theirs = Engine(hosted, ScriptedSource(answered), policy, max_new_tokens=12)
    expected, found = mine.generate(PROMPTS), theirs.generate(PROMPTS)
    assert seen(found) == seen(expected)
    assert policy == "never" or sum(answer.calls for answer in found) > 0


@needs_llama
def test_a_server_with_another_tokenizer_is_refused(llama, tmp_path):
    other = train_tokenizer(["she'll owe 1879 and 東京 and naïve " * 9] * 9, 300)
    other.save_pretrained(tmp_path)
    with pytest.raises(LacyError, match=r"E91.*tokens"):
        connect(llama, "slm", tmp_path)


@needs_llama
def test_characters_of_several_tokens_arrive_whole(llama, folder):
    """llama.cpp reports only the last token of a character; a grammar makes the model say some."""
    hosted = connect(llama, "slm", folder)
    text = "é東ař"
    body = {
        "prompt": [0, 67], "grammar": f'root ::= "{text}"', "max_tokens": 12, "logprobs": 3,
        "temperature": 0,
    }  # fmt: skip
    answer = httpx.post(f"{llama}/completions", json=body, timeout=PATIENCE).json()["choices"][0]
    expected = hosted.server.token_text.encode(text)
    assert len(answer["logprobs"]["content"]) < len(expected)
    found = [token.token for token in hosted.server._tokens_of(answer)]
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {hosted.server.end_id, hosted.call_id}


@needs_llama
@pytest.mark.parametrize("policy", ["never", "threshold=0"])
def test_lacy_serves_in_front_of_llama_cpp(llama, folder, policy):
    """Whole and streamed, several at once: the words of the model in process."""
    mine = Engine(load_model(folder), ScriptedSource(answered), policy, read=0, max_new_tokens=12)
    expected = [answer.continuation for answer in mine.generate(PROMPTS)]
    hosted = connect(llama, "slm", folder, top=20)
    theirs = Engine(hosted, ScriptedSource(answered), policy, max_new_tokens=12)
    scheduler = Scheduler(theirs, streams=4)
    with TestClient(make_app(scheduler, "slm")) as client:
        body = {"model": "slm", "prompt": PROMPTS}
        whole = client.post("/v1/completions", json=body).json()
        assert [choice["text"] for choice in whole["choices"]] == expected
        got = client.post("/v1/completions", json={**body, "stream": True}).text
        said = ["", ""]
        for event in got.split("\n\n"):
            if event.startswith("data: {"):
                choice = json.loads(event[6:])["choices"][0]
                said[choice["index"]] += choice["text"]
        assert said == expected


def test_generate_speaks_through_a_server(folder, tmp_path, capsys):
    loaded = load_model(folder)
    out = tmp_path / "answers.jsonl"
    with hosted_app.serving(loaded.model, loaded.tokenizer, "ids") as (url, _):
        words = ["generate", f"{url}#slm:threshold=0", "--tokenizer", str(folder)]
        words += [PROMPTS[0], "--max-new-tokens", "8", "--out", str(out), "--show"]
        assert main(words) == 0
        expected = Engine(loaded, None, "threshold=0", max_new_tokens=8).generate(PROMPTS[:1])
        said = json.loads(out.read_text().splitlines()[0])
        assert "".join(span["text"] for span in said["spans"]) == expected[0].text
        assert main([*words[:2], "x"]) == 2  # no folder of that name
    assert "--tokenizer" in capsys.readouterr().err
