"""What counts as an answer of a route: broken bodies, streams and refusals, over real sockets."""

import asyncio
import json

import openai
import pytest

from helpers.route_servers import ANSWER, chat, serving_routes
from helpers.scripted_server import scripted_server
from helpers.serving import problem
from helpers.waiting import PATIENCE
from lacy.serve import RouteEntry, RoutesConfig
from lacy.serve.route_attempts import attempt
from lacy.serve.route_targets import RemoteTarget

HARD = "Which owl has a nest?"
SSE = {"Content-Type": "text/event-stream"}
CUT = {"Content-Length": "9999"}  # the connection ends before
CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "theirs",
         "choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": None}]}  # fmt: skip
EVENT = f"data: {json.dumps(CHUNK)}\n\n".encode()


@pytest.fixture(scope="module")
def other():
    with scripted_server() as server:
        yield server


@pytest.fixture(scope="module")
def client(other):
    """Two routes on another server, without a router: ``first`` is tried first."""
    address = other.url.rstrip("/")
    routes = {name: RouteEntry(f"{address}#{name}") for name in ("first", "second")}
    with serving_routes(RoutesConfig(routes)) as client:
        yield client


@pytest.mark.parametrize(
    ("reply", "outcome", "why"),
    [
        ((200, ANSWER), "answered", ""),
        ((400, {"error": {"message": "temperature", "code": "x"}}), "answered", ""),
        ((400, {"error": {"message": "tools", "code": "unsupported"}}), "refused", "tools"),
        ((413, {"error": {"message": "large"}}), "refused", "HTTP 413 large"),
        ((429, {"error": {"message": "later"}}), "busy", "HTTP 429 later"),
        ((503, b"<html>", {"Content-Type": "text/html; x"}, 0.0), "busy", "no JSON object"),
        ((200, b"<html>", {"Content-Type": "text/html; x"}, 0.0), "failed", "object (text/html)"),
        ((200, b""), "failed", "HTTP 200, and its answer is no JSON object"),
        ((200, b'{"id": '), "failed", "no JSON object"),
        ((200, [1]), "failed", "no JSON object"),
        ((200, {"error": {"message": "overloaded"}}), "failed", "with an error: overloaded"),
        ((302, b"", {"Location": "http://localhost/"}, 0.0), "failed", "redirects"),
        ((401, {"error": "no key"}), "failed", "HTTP 401 no key"),
        ((405, {}), "failed", "HTTP 405"),
        ((500, {"error": {"message": "broken"}}), "failed", "HTTP 500 broken"),
        ((200, b'{"id":', CUT, 0.0), "failed", "RemoteProtocolError"),
        ((200, ANSWER, {}, 0.5), "failed", "no answer within 0.2 s"),
        ((200, EVENT, SSE, 0.0), "answered", ""),
        ((200, b": ping\n\n" + EVENT, SSE, 0.0), "answered", ""),
        ((200, b": ping\n\n", SSE, 0.0), "failed", "ended without an answer"),
        ((200, b"", SSE | CUT, 0.0), "failed", "RemoteProtocolError"),
        ((200, b'data: {"error": "no"}\n\n', SSE, 0.0), "failed", "began with an error: no"),
    ],
)  # fmt: skip
def test_what_counts_as_an_answer(other, reply, outcome, why):
    async def ask():
        target = RemoteTarget(f"{other.url.rstrip('/')}#m")
        limit = 0.2 if "0.2 s" in why else PATIENCE  # a busy machine may take a while
        found = await attempt(target, "/v1/chat/completions", {}, "r", limit, comments=False)
        if found.reply is not None:
            await found.reply.close()
        await target.close()
        return found

    other.replies = [reply]
    found = asyncio.run(ask())
    assert found.outcome == outcome and why in found.why and bool(why) == bool(found.why)


def test_the_next_route_answers_if_a_stream_dies_before_its_first_event(client, other):
    other.replies = [(200, b": ping\n\n", SSE | CUT, 0.0), (200, EVENT, SSE, 0.0)]
    text = chat(client, HARD, stream=True).text
    assert '"route": "second"' in text and '"content": "4"' in text and "ping" not in text


def test_a_stream_that_breaks_later_ends_with_an_error_that_clients_raise(client, other):
    other.replies = [(200, EVENT, SSE | CUT, 0.0)]
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as caller:
        stream = caller.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": HARD}], stream=True
        )
        assert next(stream).choices[0].delta.content == "4"
        with pytest.raises(openai.APIError, match="the stream of the route first broke"):
            list(stream)
    assert 'lacy_routed_total{outcome="broken",route="first"} 1.0' in client.get("/metrics").text


def test_what_one_route_refuses_another_may_do(client, other):
    refusal = {"error": {"message": "no tools", "code": "unsupported"}}
    other.replies = [(400, refusal), (200, ANSWER)]
    answer = chat(client, HARD, tools=[{"type": "function", "function": {"name": "f"}}])
    assert answer.json()["lacy_route"]["tried"] == [{"route": "first", "why": "HTTP 400 no tools"}]
    other.replies = [(400, refusal)]  # all of them
    answer = chat(client, HARD)
    assert answer.status_code == 400 and answer.json() == refusal


def test_busy_routes_say_when_to_come_back(client, other):
    busy = {"error": {"message": "later"}}
    other.replies = [(429, busy, {"Retry-After": "9"}, 0.0), (429, busy, {"Retry-After": "7"}, 0.0)]
    answer = chat(client, HARD)
    assert "no route may answer now" in problem(answer, 429)["message"]
    assert answer.headers["retry-after"] == "7"
    other.replies = [(429, busy, {"Retry-After": "9"}, 0.0)]
    answer = chat(client, HARD, "first")
    assert answer.status_code == 429 and answer.headers["retry-after"] == "9"


def test_a_named_route_passes_no_page_and_no_refused_key_on(client, other):
    for reply in ((200, b"<html>"), (401, {"error": {"message": "bad key"}})):
        other.replies = [reply]
        assert "first" in problem(chat(client, HARD, "first"), 502)["message"]
