"""Requests recorded from chat pages and bench clients: Open WebUI, ``vllm bench serve``, guidellm,
LiteLLM. The bodies are written after these clients' sources; docs/how-to/clients.md has the
settings."""

import asyncio
import json

import httpx
import pytest

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.testing import scripted

PROMPT = "Tomas Brill, an engineer from Łódź, grew up in"


@pytest.fixture(scope="module")
def short():
    """A model that ends after three letters unless it must continue."""
    with serving(Engine(scripted(lambda text: "" if text.endswith("xxx") else "x"))) as running:
        yield running


def events(text):
    found = [part for part in text.split("\n\n") if part.startswith("data: ")]
    assert found[-1] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in found[:-1]]


# ----------------------------------------------------------------------------- Open WebUI


def test_open_webui_lists_models_and_chats(server, engine):
    headers = {"Authorization": "Bearer none", "Content-Type": "application/json",
               "X-OpenWebUI-User-Name": "ada", "X-OpenWebUI-Chat-Id": "c1"}  # fmt: skip
    with httpx.Client(base_url=server.url, headers=headers) as client:
        [model] = client.get("/v1/models").json()["data"]
        body = {
            "model": model["id"], "stream": True, "stream_options": {"include_usage": True},
            "messages": [{"role": "system", "content": "You are kind."},
                         {"role": "user", "content": "Hi"},
                         {"role": "assistant", "content": "Yes."},
                         {"role": "user", "content": PROMPT}],
            "temperature": 0.0, "max_tokens": 12, "metadata": {"chat_id": "c1"}, "chat_id": "c1",
            "session_id": "s1",
        }  # fmt: skip
        said = events(client.post("/v1/chat/completions", json=body).text)
        answer = engine.generate([PROMPT], max_new_tokens=12)[0]
        words = [chunk["choices"][0]["delta"].get("content", "") for chunk in said[:-1]]
        assert "".join(words) == answer.continuation
        assert said[-1]["usage"]["completion_tokens"] == answer.tokens and not said[-1]["choices"]
        title = {  # how it asks for a title, and for tags and further questions
            "model": model["id"], "messages": [{"role": "user", "content": "### Task: a title"}],
            "stream": False, "max_completion_tokens": 50, "reasoning": {"effort": "low"},
            "metadata": {"task": "title_generation", "chat_id": "c1"},
        }  # fmt: skip
        got = client.post("/v1/chat/completions", json=title).json()
        assert got["choices"][0]["message"]["content"]
        marked = [{"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}]
        body = body | {"messages": [{"role": "user", "content": marked}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200


# ----------------------------------------------------------------------------- bench clients


def bench(url, path, body, tokens):
    """Read a stream as a bench client does: text, times of chunks, usage."""

    async def ask():
        text, pieces, usage = "", 0, None
        async with httpx.AsyncClient(timeout=60) as client:
            headers = {"x-request-id": "bench-0"}
            async with client.stream("POST", url + path, json=body, headers=headers) as response:
                assert response.status_code == 200, await response.aread()
                assert response.headers["x-request-id"] == "bench-0"
                async for line in response.aiter_lines():
                    told = line.removeprefix("data: ")
                    if not line.startswith("data: ") or told == "[DONE]":
                        continue
                    data = json.loads(told)
                    if choices := data.get("choices"):
                        delta = choices[0].get("delta") or {}
                        text += choices[0].get("text") or delta.get("content") or ""
                        pieces += 1
                        assert data["usage"] is None
                    elif data.get("usage"):
                        usage = data["usage"]
        return text, pieces, usage

    text, pieces, usage = asyncio.run(ask())
    assert usage["completion_tokens"] == tokens and len(text) == tokens
    assert pieces >= tokens


def test_vllm_bench_serve(short):
    [model] = httpx.get(short.url + "/v1/models").json()["data"]
    assert model["id"] == model["root"]  # it takes the tokenizer's name from there
    common = {"model": model["id"], "stream": True, "stream_options": {"include_usage": True}}
    body = common | {"prompt": "a", "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": None}
    bench(short.url, "/v1/completions", body, 3)
    more = {"ignore_eos": True, "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0}
    bench(short.url, "/v1/completions", body | more, 8)
    older = {"temperature": 0.0, "best_of": 1, "ignore_eos": True, "n": 1}
    bench(short.url, "/v1/completions", body | older, 8)
    tokens = {"prompt": [5, 6, 7], "ignore_eos": True}  # of its random data
    bench(short.url, "/v1/completions", body | tokens, 8)
    content = [{"type": "text", "text": "a"}]
    chat = common | {"messages": [{"role": "user", "content": content}]}
    bench(short.url, "/v1/chat/completions", chat | {"max_completion_tokens": 8}, 3)
    bench(short.url, "/v1/chat/completions", chat | {"max_completion_tokens": 8, **more}, 8)


def test_guidellm(short):
    assert httpx.get(short.url + "/health").status_code == 200
    counts = {"include_usage": True, "continuous_usage_stats": True}
    common = {"model": "slm", "stream": True, "stream_options": counts, "ignore_eos": True}
    body = common | {"prompt": "a", "max_tokens": 7}
    bench(short.url, "/v1/completions", body, 7)
    content = [{"type": "text", "text": "a"}]
    chat = common | {"messages": [{"role": "user", "content": content}]}
    bench(short.url, "/v1/chat/completions", chat | {"max_completion_tokens": 7}, 7)


# ----------------------------------------------------------------------------- LiteLLM


def test_litellm_sends_earlier_answers_whole(server):
    before = {
        "role": "assistant", "content": "Yes.", "tool_calls": None, "function_call": None,
        "provider_specific_fields": {"refusal": None}, "annotations": [], "audio": None,
        "reasoning_content": None,
    }  # fmt: skip
    body = {"model": "slm", "messages": [{"role": "user", "content": "Hi"}, before,
            {"role": "user", "content": PROMPT}], "max_tokens": 2, "stream": False}  # fmt: skip
    got = httpx.post(server.url + "/v1/chat/completions", json=body)
    assert got.status_code == 200, got.text
