"""Our sources keep the protocol, and every violation of it is named."""

import asyncio
import sqlite3
import time

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.letters import speaks_letters
from lacy.sources import Breaker, Cached, Chain, Database, LanguageModel, Metered
from lacy.sources.models import Endpoint
from lacy.sources.texts import Documents
from lacy.testing import ScriptedSource, byte_tokenizer, check_source
from lacy.types import Candidate, Document, Reply, Request

KNOWN = Request("Mara Vell was born in")
PARIS = Reply((Candidate(" Paris"),))


def facts(folder):
    db = sqlite3.connect(folder / "facts.sqlite")
    db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
    db.execute("INSERT INTO fact VALUES ('Mara Vell', 'birth_place', 'Ulm')")
    db.commit()
    db.close()
    return Database(folder / "facts.sqlite")


def partner():
    tokenizer = byte_tokenizer()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LanguageModel(speaks_letters(LlamaForCausalLM(config), tokenizer), tokenizer)


def test_scripted_and_wrapped_sources(tmp_path):
    script = ScriptedSource({"was born in": " Ulm"})
    check_source(script, [KNOWN])
    with Cached(script, tmp_path / "answers.sqlite") as cached:
        for source in (cached, Breaker(script), Metered(script), Chain([cached, Metered(script)])):
            check_source(source, [KNOWN])


def test_look_up_sources(tmp_path):
    with facts(tmp_path) as database:
        check_source(database, [KNOWN], many=4)
    documents = [Document("1", "Mara Vell was born in Ulm in 1879. She studied physics there.")]
    with Documents.build(documents, tmp_path / "kb") as texts:
        check_source(texts, [KNOWN], many=4)


def test_a_language_model():
    check_source(partner(), [KNOWN], many=4)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_behind_a_server(server, stream):
    with Endpoint(server.url, "m", stream=stream) as source:
        check_source(source, [KNOWN], many=8)


def test_a_model_of_the_llm_package():
    llm = pytest.importorskip("llm", reason="the extra llm is not installed")
    from lacy.sources.models import LlmModel

    class Says(llm.Model):
        model_id = "says"

        def execute(self, prompt, stream, response, conversation):
            yield "Ulm, where she grew up and learned to read"

    with LlmModel(Says()) as source:
        check_source(source, [KNOWN], many=8)


class Broken:
    """A source whose ``ask`` is the function it is given."""

    def __init__(self, ask, name="broken"):
        self.name, self._ask = name, ask

    async def ask(self, requests):
        return await self._ask(requests)


async def raises(requests):
    raise KeyError("Ulm")


async def raises_for_an_empty_text(requests):
    return [PARIS for request in requests if request.text[0]]


async def one_reply(requests):
    return [PARIS]


async def texts(requests):
    return [" Ulm"] * len(requests)


async def blocks(requests):
    time.sleep(0.8)
    return [PARIS] * len(requests)


async def hangs(requests):
    await asyncio.sleep(60)


async def knows_nothing(requests):
    return [Reply()] * len(requests)


async def turns_round(requests):
    return [Reply((Candidate(f" {request.text}!"),)) for request in requests][::-1]


async def leaves_tasks(requests):
    task = asyncio.ensure_future(asyncio.sleep(30))
    leaves_tasks.kept = task
    return [PARIS] * len(requests)


def always(*candidates, **more):
    async def ask(requests):
        return [Reply(tuple(candidates), **more)] * len(requests)

    return ask


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (raises, "raised KeyError 'Ulm'; reply with an error instead"),
        (raises_for_an_empty_text, "an odd text: it raised IndexError"),
        (one_reply, "no request at all: 0 request(s), 1 reply"),
        (texts, "it gave str, not a Reply"),
        (blocks, "it blocks its thread"),
        (hangs, "no answer within 0.1 s"),
        (knows_nothing, "it answers none of the requests"),
        (turns_round, "differs from the reply"),
        (leaves_tasks, "left tasks behind"),
        (always(Candidate("")), "a candidate without text"),
        (always(Candidate("\ud800")), "half a character"),
        (always(" Ulm"), "is not a Candidate"),
        (always(Candidate(" Ulm"), error="down"), "both an error and candidates"),
        (always(Candidate(" Ulm"), fault=True), "a fault without a sentence"),
        (always(error=" "), "not a sentence"),
        (always(Candidate(" Ulm"), cost=-1.0), "its cost is -1.0"),
        (always(Candidate(" Ulm"), seconds=float("nan")), "its seconds is nan"),
        (always(Candidate(" Ulm", alternatives=0)), "0 alternatives"),
    ],
)
def test_violations_are_named(ask, says):
    with pytest.raises(AssertionError) as caught:
        check_source(Broken(ask), [KNOWN], seconds=0.1, many=4)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the source 'broken' violates the protocol of sources:"
    assert says in str(caught.value) and all(line.startswith("  ") for line in lines[1:])


def test_a_source_without_a_name_and_a_check_without_a_request():
    with pytest.raises(AssertionError, match="its name is ''"):
        check_source(Broken(knows_nothing, name=""), [KNOWN])
    with pytest.raises(ValueError, match="at least one request"):
        check_source(ScriptedSource([" Ulm"]), [])
