"""The live judge against a local server: answers, busy servers, timeouts, rejections."""

import json

import pytest

from helpers.scripted_server import scripted_server
from lacy.annotate.live import LiveJudge, parse_answer
from lacy.errors import LacyError
from lacy.types import Mark

TEXT = "Ada Lovelace was born in London on 10 December 1815. London was large."


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with scripted_server() as running:
        yield running


def says(content, status=200, headers=None, pause=0.0):
    message = {"choices": [{"message": {"content": content}}],
               "usage": {"prompt_tokens": 7, "completion_tokens": 3}}  # fmt: skip
    return status, message, headers or {}, pause


def facts(*values):
    return json.dumps({"facts": [{"value": v, "relation": f"r{i}"} for i, v in enumerate(values)]})


def judge(server, **settings):
    return LiveJudge(server.url, "model", first_wait=0.01, **settings)


def test_values_become_marks(server):
    server.replies = [says(facts("London", "10 December 1815", "Paris"))]
    live = judge(server)
    assert live.annotate([TEXT, " "]) == [
        [Mark(25, 31, "VALUE", "r0"), Mark(35, 51, "VALUE", "r1")],
        [],
    ]
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["model"] == "model" and TEXT in body["messages"][1]["content"]
    assert (live.report.requests, live.report.found, live.report.not_found) == (1, 2, 1)
    assert (live.report.prompt_tokens, live.report.completion_tokens) == (7, 3)


def test_the_key_comes_from_the_environment_and_is_not_kept(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame")
    server.replies = [says(facts())]
    live = judge(server, key_variable="MY_KEY")
    assert live.annotate([TEXT]) == [[]]
    assert server.seen[0][1]["Authorization"] == "Bearer sesame"
    assert "sesame" not in repr(vars(live)) + repr(live.settings())


def test_a_long_text_is_asked_in_pieces(server):
    server.replies = [says(facts("beta"))]
    text = "alpha beta\n" * 40
    marks = judge(server, piece=110).annotate([text])[0]
    assert len(server.seen) == len(marks) > 3
    assert all(text[mark.start : mark.end] == "beta" for mark in marks)


def test_busy_servers_and_timeouts_are_retried(server):
    server.replies = [
        says("", status=503),
        says("", status=429, headers={"Retry-After": "0.01"}),
        says(facts("Paris"), pause=2.5),
        says(facts("London")),
    ]
    live = judge(server, timeout=1.0)
    assert live.annotate([TEXT]) == [[Mark(25, 31, "VALUE", "r0")]]
    assert (live.report.requests, live.report.retries) == (4, 3)


def test_retries_are_bounded(server):
    server.replies = [says("", status=500)]
    with pytest.raises(LacyError, match="HTTP 500, after 3 tries") as caught:
        judge(server, retries=2).annotate([TEXT])
    assert caught.value.code == "E35" and len(server.seen) == 3


@pytest.mark.parametrize(
    ("reply", "says_what"),
    [
        ((401, {"error": "no"}, {}, 0.0), "export OPENAI_API_KEY"),
        ((404, {"error": "no"}, {}, 0.0), "model's name"),
        ((200, b"<html>hello</html>", {}, 0.0), "base address"),
        ((200, {"choices": []}, {}, 0.0), "base address"),
        ((200, [1], {}, 0.0), "base address"),
        ((200, b'{"choices": ' + b"[" * 200_000, {}, 0.0), "base address"),
        ((200, b"9" * 5000, {}, 0.0), "base address"),
    ],
)
def test_rejected_requests_are_not_retried(server, reply, says_what):
    server.replies = [reply]
    with pytest.raises(LacyError, match=says_what):
        judge(server).annotate([TEXT])
    assert len(server.seen) == 1


@pytest.mark.parametrize("usage", [[], "x", {"prompt_tokens": "x"}, {"prompt_tokens": [1]}, None])
def test_invalid_token_counts_do_not_discard_the_answer(server, usage):
    reply = says(facts("London"))
    reply[1]["usage"] = usage
    server.replies = [reply]
    live = judge(server)
    assert live.annotate([TEXT]) == [[Mark(25, 31, "VALUE", "r0")]]
    assert live.report.prompt_tokens == 0


def test_a_wrongly_compressed_answer_is_retried(server):
    server.replies = [says("", headers={"Content-Encoding": "gzip"}), says(facts("London"))]
    assert judge(server).annotate([TEXT]) == [[Mark(25, 31, "VALUE", "r0")]]


def test_an_invalid_address_is_an_error():
    with pytest.raises(LacyError, match="E72"):
        LiveJudge("http://[::1/v1", "model")


def test_a_missing_server_is_an_error():
    live = LiveJudge("http://127.0.0.1:1/v1", "model", retries=0)
    with pytest.raises(LacyError, match="ConnectError"):
        live.annotate([TEXT])


def test_unreadable_answers_leave_the_text_unmarked(server):
    server.replies = [says("I would rather not."), says(None)]
    live = judge(server, concurrency=1)
    assert live.annotate([TEXT, TEXT]) == [[], []]
    assert live.report.unreadable == 2


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        (facts("a", "b"), ["a", "b"]),
        (f"Sure!\n```json\n{facts('a')}\n```\nDone.", ["a"]),
        (f"Here you are: {facts('a')} Anything else?", ["a"]),
        ('["a", {"value": " b "}, 3, {"value": ""}]', ["a", "b"]),
        (facts("a", "b", "c")[:-15], ["a", "b"]),
        ('{"facts": []}', []),
        ('{"facts": [{"value": "a"}, {"value": ' + "9" * 5000 + "}]}", ["a"]),
        ('{"other": 1}', None),
        (f"<think>Perhaps {{this}}?</think>{facts('a')}", ["a"]),
        ("<think>Perhaps {this", None),
        ("no json", None),
        ("{", None),
        ("", None),
    ],
)
def test_answers_in_many_forms(answer, values):
    parsed = parse_answer(answer)
    assert (None if parsed is None else [value for value, _ in parsed]) == values


def refuses(message, param=None, status=400):
    return status, {"error": {"message": message, "param": param}}, {}, 0.0


def test_parameters_that_newer_models_reject_are_learned_once(server):
    server.replies = [
        refuses("Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.", "max_tokens"),
        refuses("Unsupported value: 'temperature' does not support 0 with this model.",
                "temperature"),
        refuses("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                "messages[0].role"),
        says(facts("London")),
    ]  # fmt: skip
    live = judge(server, concurrency=1, retries=0)
    assert live.annotate([TEXT, TEXT]) == [[Mark(25, 31, "VALUE", "r0")]] * 2
    assert len(server.seen) == 5 and live.report.retries == 0
    for _, _, body in server.seen[3:]:
        assert sorted(body) == ["max_completion_tokens", "messages", "model"]
        [message] = body["messages"]
        assert message["content"].startswith("You mark facts") and TEXT in message["content"]


def test_other_rejections_are_errors(server):
    server.replies = [refuses("max_tokens is too large: 2000", "max_tokens")]
    with pytest.raises(LacyError, match="HTTP 400 max_tokens is too large"):
        judge(server).annotate([TEXT])
    assert len(server.seen) == 1


def ends(content, finish):
    status, message, headers, pause = says(content)
    message["choices"][0]["finish_reason"] = finish
    return status, message, headers, pause


def test_filtered_answers_mark_nothing(server):
    server.replies = [ends(facts("London")[:-2], "content_filter"), ends(None, "tool_calls")]
    live = judge(server, concurrency=1)
    assert live.annotate([TEXT, TEXT]) == [[], []]
    assert (live.report.aborted, live.report.unreadable) == (2, 2)


def test_a_reasoning_model_gets_a_higher_token_limit(server):
    server.replies = [ends("<think>Is London", "length"), ends(facts("London"), "stop")]
    live = judge(server, concurrency=1, max_tokens=100)
    assert live.annotate([TEXT, TEXT]) == [[Mark(25, 31, "VALUE", "r0")]] * 2
    assert [body["max_tokens"] for _, _, body in server.seen] == [100, 2100, 2100]


def test_content_given_as_parts_is_read(server):
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": facts("London")}]
    server.replies = [says(parts)]
    assert judge(server).annotate([TEXT]) == [[Mark(25, 31, "VALUE", "r0")]]
