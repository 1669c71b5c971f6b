"""The client of OpenAI-compatible servers, against a local server that plays its answers."""

import asyncio
import json
import pickle
import re
import threading

import pytest

from helpers.scripted_server import scripted_server
from lacy.errors import LacyError
from lacy.remote import OpenAIClient, OutOfTokens, RemoteError, Retries

QUICK = Retries(2, first_wait=0.001)


@pytest.fixture
def server():
    with scripted_server() as running:
        yield running


def answer(text, finish="stop", **fields):
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": finish}], **fields}


def event(text, finish=None):
    choice = {"text": text, "finish_reason": finish, "logprobs": len(text)}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def run(client, ask):
    """Return what ``ask(client)`` gives, in an event loop of its own."""

    async def asked():
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(asked())


def test_a_conversation_and_a_continuation(server):
    server.replies = [answer("Oslo", usage={"prompt_tokens": 3}), answer(" Ulm", "length")]
    client = OpenAIClient(server.url, "m", retries=QUICK)
    messages = [{"role": "user", "content": "Where?"}]
    chat = run(client, lambda c: c.chat(messages, max_tokens=9))
    assert (chat.text, chat.finish, chat.usage) == ("Oslo", "stop", {"prompt_tokens": 3})
    text = run(client, lambda c: c.complete([1, 2], temperature=0.5))
    assert (text.text, text.finish, text.choice["message"]["content"]) == (" Ulm", "length", " Ulm")
    assert [(path, body) for path, _, body in server.seen] == [
        ("/v1/chat/completions",
         {"model": "m", "temperature": 0, "messages": messages, "max_tokens": 9}),
        ("/v1/completions", {"model": "m", "temperature": 0.5, "prompt": [1, 2]}),
    ]  # fmt: skip
    assert (client.sent, client.retried) == (2, 0)


def test_chunks_come_as_they_are_sent_and_another_attempt_begins_anew(server):
    server.replies = [
        (200, event(" Kel")),
        (200, event(" Kel") + event("field", "stop") + b"data: [DONE]\n\n"),
    ]
    attempts = []

    async def read(arriving):
        attempts.append([])
        async for chunk in arriving:
            attempts[-1].append((chunk.text, chunk.finish, chunk.choice["logprobs"]))
        return "read"

    client = OpenAIClient(server.url, "m", retries=QUICK)
    body = {"prompt": "x", "stream": True}
    assert run(client, lambda c: c.stream("completions", body, read)) == "read"
    assert attempts == [[(" Kel", None, 4)], [(" Kel", None, 4), ("field", "stop", 5)]]
    assert (client.sent, client.retried) == (2, 1)


def test_the_models_of_a_server(server):
    server.replies = [(200, {"data": [{"id": "a"}, "b"]}), (200, {"data": 5}), (200, b"<html>")]
    client = OpenAIClient(server.url, "m", retries=QUICK)
    assert run(client, lambda c: c.models()) == [{"id": "a"}]
    for why in ("no list of models", "not JSON"):
        with pytest.raises(RemoteError, match=f"{why}; the base address usually ends in /v1"):
            run(client, lambda c: c.models())


def test_a_reasoning_model_is_asked_once_more_and_the_limit_stays(server):
    server.replies = [answer("<think>Is it", "length"), answer("Oslo")]
    client = OpenAIClient(server.url, "m", retries=QUICK)
    ask = lambda c: c.chat([{"role": "user", "content": "?"}], max_tokens=10)  # noqa: E731
    assert run(client, ask).text == run(client, ask).text == "Oslo"
    assert [body["max_tokens"] for _, _, body in server.seen] == [10, 2010, 2010]
    server.replies = [answer("", "length")]
    with pytest.raises(OutOfTokens, match="still reasoning"):
        run(client, ask)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "export MY_KEY="), (403, "export MY_KEY="), (404, r"model's name \(m\)"), (400, "")],
)
def test_errors_say_what_can_be_done(server, status, hint, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-sesame-0123456789")
    server.replies = [(status, {"error": {"message": "no sk-sesame-0123456789"}})]
    client = OpenAIClient(server.url, "m", key_variable="MY_KEY", retries=QUICK)
    with pytest.raises(RemoteError) as caught:
        run(client, lambda c: c.complete("x"))
    error = caught.value
    assert re.search(hint, str(error))
    assert (error.status, error.retryable) == (status, False)
    assert error.why == f"HTTP {status} no (the key)" and bool(error.hint) == bool(hint)
    assert server.seen[0][1]["Authorization"] == "Bearer sk-sesame-0123456789" and client.sent == 1


def test_statuses_that_are_repeated(server):
    client = OpenAIClient(server.url, "m", retries=Retries(1, 0.001, statuses=frozenset({408})))
    for status, tries in ((408, 2), (503, 2), (409, 1)):
        server.seen.clear()
        server.replies = [(status, b"")]
        with pytest.raises(RemoteError, match=f"HTTP {status}"):
            run(client, lambda c: c.complete("x"))
        assert len(server.seen) == tries


def test_waits_are_bounded():
    for attempt in range(6):
        wait = Retries(first_wait=0.5, max_wait=8.0).wait
        assert 0.25 * 2**attempt <= min(wait(attempt, 0.0), 8.0) <= min(0.5 * 2**attempt, 8.0)
        assert wait(attempt, 20.0) == 8.0 and wait(0, 3.0) == 3.0


def test_an_attempt_that_takes_too_long_is_given_up_for_the_next(server):
    release = threading.Event()
    server.replies = [answer("Oslo")]
    server.play = lambda number: number or release.wait(60)
    client = OpenAIClient(server.url, "m", attempt_timeout=1.0, retries=Retries(1, 0.001))
    assert run(client, lambda c: c.complete("x")).text == "Oslo"
    assert client.retried == 1
    release.set()


def test_the_deadline_ends_a_request_whatever_it_waits_for(server):
    release = threading.Event()
    server.play = lambda number: release.wait(60)
    client = OpenAIClient(server.url, "m", timeout=0.3, concurrency=1)

    async def two(c):
        return await asyncio.gather(c.complete("x"), c.complete("y"), return_exceptions=True)

    for error in run(client, two):
        assert str(error) == "no whole answer within 0.3 s"
    release.set()


def test_requests_wait_for_a_place_and_each_loop_has_connections_of_its_own(server):
    server.replies = [answer("Oslo")]
    client = OpenAIClient(server.url, "m", concurrency=2, retries=QUICK)

    async def many(c):
        return await asyncio.gather(*(c.complete(str(n)) for n in range(9)))

    for _ in range(2):
        assert [chunk.text for chunk in run(client, many)] == ["Oslo"] * 9
    assert len(server.seen) == 18


def test_a_client_can_be_pickled_with_what_it_learned(server):
    server.replies = [answer("Oslo")]
    client = OpenAIClient(server.url, "m")
    client.parameters.omitted.add("temperature")

    async def ask(c):
        await c.complete("x")
        return pickle.loads(pickle.dumps(c))

    again = run(client, ask)
    assert run(again, lambda c: c.complete("y")).text == "Oslo"
    assert "temperature" not in server.seen[-1][2]


def test_addresses_are_checked():
    with pytest.raises(LacyError, match="E72"):
        OpenAIClient("http://host/v1?api_key=sesame", "m")
