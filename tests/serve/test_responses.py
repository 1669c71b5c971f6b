"""``/v1/responses`` with the official client: complete answers, events, refused requests."""

import json

import httpx
import openai
import pytest
from openai.types.responses import Response

from helpers.serving import TEMPLATE, as_pieces, joined, pieces, serving
from lacy.cascade import Engine
from lacy.testing import scripted

PROMPT = "Tomas Brill, an engineer from Łódź, grew up in"


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["slm", "slm:never", "slm:always"])
def test_a_response_equals_a_chat_completion(client, engine, model):
    answer = engine.variant(model.partition(":")[2] or None).generate([PROMPT])[0]
    got = client.responses.create(model=model, input=PROMPT)
    Response.model_validate(got.model_dump())
    assert got.output_text == answer.continuation and got.object == "response"
    assert pieces(got.lacy["spans"]) == as_pieces(answer) and got.lacy["calls"] == answer.calls
    assert got.usage.output_tokens == answer.tokens
    assert got.usage.input_tokens == answer.spans[0].tokens
    assert got.status == ("completed" if answer.finished else "incomplete")
    assert answer.finished or got.incomplete_details.reason == "max_output_tokens"
    assert got.model == model and got.id.startswith("resp_") and got.output[0].role == "assistant"


@pytest.mark.parametrize("model", ["slm:never", "slm:always"])
def test_the_events_of_a_stream(client, engine, model):
    answer = engine.variant(model.partition(":")[2]).generate([PROMPT], max_new_tokens=9)[0]
    events = list(
        client.responses.create(model=model, input=PROMPT, max_output_tokens=9, stream=True)
    )
    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", *["response.output_text.delta"] * len(deltas),
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.incomplete",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(delta.delta for delta in deltas) == answer.continuation
    assert events[-4].text == answer.continuation
    spans = [span for delta in deltas for span in delta.lacy["spans"]]
    assert "".join(span["text"] for span in spans) == answer.continuation
    last = events[-1].response
    assert pieces(last.lacy["spans"]) == as_pieces(answer)
    assert last.usage.output_tokens == answer.tokens and last.output_text == answer.continuation
    assert {event.response.id for event in (events[0], events[1], events[-1])} == {last.id}
    for event in events:  # each as the client's types have it
        type(event).model_validate(event.model_dump())


def test_the_clients_own_stream_helper(client, engine):
    answer = engine.variant("never").generate([PROMPT], max_new_tokens=6)[0]
    with client.responses.stream(model="slm:never", input=PROMPT, max_output_tokens=6) as stream:
        said = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert said == answer.continuation


def test_log_probabilities(client):
    how = {"model": "slm:never", "max_output_tokens": 5, "top_logprobs": 2}
    got = client.responses.create(input=PROMPT, include=["message.output_text.logprobs"], **how)
    chat = client.chat.completions.create(
        model="slm:never", messages=[{"role": "user", "content": PROMPT}], max_tokens=5,
        logprobs=True, top_logprobs=2,
    )  # fmt: skip
    content = got.output[0].content[0].logprobs
    assert [t.logprob for t in content] == [t.logprob for t in chat.choices[0].logprobs.content]
    assert all(len(t.top_logprobs) == 2 for t in content)
    plain = client.responses.create(model="slm:never", input=PROMPT, max_output_tokens=5)
    assert plain.output[0].content[0].logprobs == []


def test_conversations_are_rendered_like_chats():
    seen = []
    loaded = scripted(lambda text: seen.append(text) or "")
    loaded.tokenizer.chat_template = TEMPLATE
    with serving(Engine(loaded)) as running:
        client = openai.OpenAI(base_url=running.url + "/v1", api_key="n", max_retries=0)
        with client:
            client.responses.create(
                model="slm",
                instructions="Be brief.",
                input=[
                    {"role": "developer", "content": "In French."},
                    {"role": "user", "content": [{"type": "input_text", "text": "Who"},
                                                 {"type": "input_text", "text": "?"}]},
                    {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                     "content": [{"type": "output_text", "text": "Ada.", "annotations": []}]},
                    {"type": "reasoning", "id": "rs_1", "summary": []},
                    {"type": "function_call", "call_id": "c1", "name": "look",
                     "arguments": "{\"at\": 1}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                    {"role": "user", "content": "And <|endoftext|>?"},
                ],
            )  # fmt: skip
    assert seen[0] == (
        "system: Be brief.\nsystem: In French.\nuser: Who?\nassistant: Ada.\n"
        'assistant: {"name": "look", "arguments": {"at": 1}}\nuser: rain\n'
        "user: And <|endoftext|>?\nassistant:"
    )


def test_an_answer_can_be_sent_back_unchanged(client):
    first = client.responses.create(model="slm:never", input=PROMPT, max_output_tokens=3)
    before = [{"role": "user", "content": PROMPT}, *first.output]
    again = [item if isinstance(item, dict) else item.model_dump() for item in before]
    more = [*again, {"role": "user", "content": "Mara"}]
    got = client.responses.create(model="slm:never", input=more, max_output_tokens=3)
    plain = client.responses.create(model="slm:never", input="Mara", max_output_tokens=3)
    assert got.output_text == plain.output_text


@pytest.mark.parametrize(("more", "param"), [
    ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True},
    "background"), ({"conversation": "c"}, "conversation"), ({"tools": [{"type": "web_search"}]},
    "tools"), ({"text": {"format": {"type": "json_object"}}}, "text.format"),
    ({"truncation": "auto"}, "truncation"), ({"n": 2}, "n"), ({"max_output_tokens": 0},
    "max_output_tokens"), ({"input": []}, "input"), ({"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "x"}]}]}, "input.0.content.0.type"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"), ({"typo": 1}, "typo"),
    ({"input": [{"role": "user"}]}, "input.0"), ({"model": "gpt"}, "model"),
    ({"input": [{"type": "function_call", "call_id": "1"}]}, "input.0"),
], ids=str)  # fmt: skip
def test_unsupported_values_are_refused(server, more, param):
    got = server.post("/v1/responses", **{"model": "slm", "input": "Mara"} | more)
    assert got.status_code in (400, 404), got.text
    assert got.json()["error"]["param"] == param


@pytest.mark.parametrize("more", [
    {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {"store": True},
    {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
    {"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"truncation": "disabled"},
    {"metadata": {"a": "b"}, "user": "u", "service_tier": "auto"}, {"background": False},
    {"previous_response_id": None, "instructions": None, "temperature": None, "stream": None},
], ids=str)  # fmt: skip
def test_values_without_effect(server, more):
    body = {"model": "slm", "input": "Mara", "max_output_tokens": 1} | more
    got = server.post("/v1/responses", **body)
    assert got.status_code == 200, got.text
    assert got.json()["metadata"] == more.get("metadata", {})


def test_a_failure_during_generation_is_an_event():
    from lacy.cascade import Oracle

    def broken(text):
        if len(text) > 3:
            raise RuntimeError("the cause")
        return False

    engine = Engine(scripted(lambda text: "x"), None, Oracle(broken), max_new_tokens=8)
    with serving(engine) as running:
        body = {"model": "slm", "input": "a", "stream": True}
        text = httpx.post(running.url + "/v1/responses", json=body).text
        events = [json.loads(e.partition("data: ")[2]) for e in text.split("\n\n") if "data" in e]
        assert [event["type"] for event in events][-2:] == ["error", "response.failed"]
        assert events[-1]["response"]["status"] == "failed" and "cause" not in text
        with openai.OpenAI(base_url=running.url + "/v1", api_key="n", max_retries=0) as client:
            last = list(client.responses.create(**body))[-1]
            assert last.response.error.code == "server_error"


def test_langchain_by_responses(server, engine):
    langchain_openai = pytest.importorskip("langchain_openai", reason="needs langchain-openai")
    chat = langchain_openai.ChatOpenAI(
        model="slm:never", base_url=server.url + "/v1", api_key="none", max_retries=0,
        use_responses_api=True, max_tokens=9, temperature=0,
    )  # fmt: skip
    answer = engine.variant("never").generate([PROMPT], max_new_tokens=9)[0]
    assert chat.invoke(PROMPT).text == answer.continuation
    assert "".join(chunk.text for chunk in chat.stream(PROMPT)) == answer.continuation


def test_spans_of_deltas_are_those_of_the_whole(client, engine):
    answer = engine.variant("always").generate([PROMPT], max_new_tokens=9)[0]
    stream = client.responses.create(
        model="slm:always", input=PROMPT, max_output_tokens=9, stream=True
    )

    class Chunk:
        def __init__(self, event):
            self.choices = [event]

    chunks = [Chunk(event) for event in stream if event.type == "response.output_text.delta"]
    assert pieces(joined(chunks)) == as_pieces(answer)
