"""A model behind a server: what is sent, what is cut from the answer, what it costs, the key."""

import asyncio
import gc
import threading

import pytest

from helpers.waiting import PATIENCE
from lacy.cascade import Engine
from lacy.cli import main
from lacy.errors import LacyError
from lacy.remote.wire import REASONING_TOKENS
from lacy.sources import open_source
from lacy.sources.models import Endpoint
from lacy.sources.models.chat import CHAT_TOKENS
from lacy.testing import scripted
from lacy.types import Request


@pytest.fixture
def endpoint(server):
    opened = []

    def open_one(**options):
        options = {"first_wait": 0.01, "timeout": 10.0, **options}
        opened.append(Endpoint(server.url, "m", **options))
        return opened[-1]

    yield open_one
    for source in opened:
        source.close()


def ask(source, *requests):
    return asyncio.run(source.ask(list(requests)))


def said(source, text, unit="value"):
    [reply] = ask(source, Request(text, unit))
    assert reply.error is None, reply.error
    return reply.candidates[0].text if reply.candidates else None


def test_the_raw_text_is_sent_and_continued(server, endpoint):
    source = endpoint(body={"seed": 7})
    [reply] = ask(source, Request("He was born in", "value"))
    assert reply.candidates[0].text == " Paris" and "continued by m" in reply.candidates[0].evidence
    assert reply.seconds > 0 and not reply.fault
    path, headers, body = server.seen[0]
    assert path == "/v1/completions" and "Authorization" not in headers
    assert body == {
        "model": "m", "prompt": "He was born in", "max_tokens": 16,
        "temperature": 0, "stream": True, "seed": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "finish", "unit", "expected"),
    [
        (" Paris in 1900", "length", "word", " Paris"),
        (" O'Brien-Smith won", "length", "word", " O'Brien-Smith"),
        (" Paris", "stop", "word", " Paris"),
        (" Paris, where", "length", "value", " Paris"),
        (" J. Smith. He", "length", "value", " J. Smith"),
        (" one two thr", "length", "value", " one two"),
        (" Ulm", "stop", "value", " Ulm"),
        ("He was@ Ulm", "stop", "value", " Ulm"),  # a server that repeats the text
        (" ", "length", "token", " "),
        ("Par", "length", "token", "Par"),
        ("", "stop", "value", None),
        ("", "stop", "token", None),
    ],
)
def test_units(server, endpoint, line, finish, unit, expected):
    server.says(line, finish=finish)
    assert said(endpoint(mode="completions"), "He was@", unit) == expected


def test_a_token_that_is_part_of_a_character_is_completed(server, endpoint):
    def play(handler, number):
        short = handler.body["max_tokens"] == 1
        answer = {"text": "\ufffd" if short else " é\ufffd", "finish_reason": "length"}
        handler.say({"choices": [answer]})

    server.play = play
    assert said(endpoint(), "caf", "token") == " é"
    assert [body["max_tokens"] for _, _, body in server.seen] == [1, 4]


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [("born in", " 1893. He", " 1893"), ("born in", " 1893", " 1893"), ("in 1", "893. He", None),
     ("born in", " May", " May")],
)  # fmt: skip
def test_a_token_that_begins_a_number_becomes_the_whole_number(
    server, endpoint, text, line, wanted
):
    def play(handler, number):
        short = handler.body["max_tokens"] == 1
        said = line[:3] if short and line[1].isdigit() else line
        handler.say({"choices": [{"text": said, "finish_reason": "length" if short else "stop"}]})

    server.play = play
    [reply] = ask(endpoint(mode="completions"), Request(text, "token", tokens="others"))
    assert [c.text for c in reply.candidates] == ([wanted] if wanted else [])
    [reply] = ask(endpoint(mode="completions"), Request(text, "token"))
    assert reply.candidates[0].text == (line[:3] if line[1].isdigit() else line)


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_without_completions_it_chats_and_remembers(server, endpoint, status):
    def play(handler, number):
        if handler.path.endswith("/chat/completions"):
            return server_says(handler, number)
        handler.say({"error": {"message": "This is a chat model"}}, status)

    server.says('"He was born in Paris."')
    server_says, server.play = server.play, play
    source = endpoint(retries=0)
    assert said(source, "He was born in") == " Paris"
    assert said(source, "He was born in", "token") == " Paris"
    paths = [path for path, _, _ in server.seen]
    assert paths == ["/v1/completions", "/v1/chat/completions", "/v1/chat/completions"]
    body = server.seen[1][2]
    assert body["max_tokens"] == 16 + CHAT_TOKENS
    assert body["messages"][1] == {"role": "user", "content": "<text>He was born in</text>"}


def test_a_fixed_mode_is_not_changed(server, endpoint):
    server.play = lambda handler, number: handler.say({"detail": "not here"}, 404)
    for mode, paths in [("completions", 1), ("chat", 1), ("auto", 2)]:
        server.seen.clear()
        [reply] = ask(endpoint(mode=mode), Request("x"))
        assert "HTTP 404 not here" in reply.error and "the model's name (m)" in reply.error
        assert reply.fault and len(server.seen) == paths


def test_a_chat_refusal_is_an_error(server, endpoint):
    server.says("I'm sorry, but I can't continue this text.")
    [reply] = ask(endpoint(mode="chat"), Request("He was born in"))
    assert "talks about itself" in reply.error and not reply.candidates


def test_a_batch_is_asked_concurrently_and_answered_in_order(server, endpoint):
    barrier = threading.Barrier(4)

    def play(handler, number):
        barrier.wait(PATIENCE)  # passes only where four requests run together
        handler.say({"choices": [{"text": " " + handler.body["prompt"], "finish_reason": "stop"}]})

    server.play = play
    texts = [f"w{number}" for number in range(12)]
    replies = ask(endpoint(concurrency=4), *(Request(text) for text in texts))
    assert [reply.candidates[0].text for reply in replies] == [f" {text}" for text in texts]
    assert server.most == 4
    assert ask(endpoint()) == []


def test_cost_counts_input_and_output_tokens(server, endpoint):
    server.says(" Paris", usage=(2000, 500))
    assert ask(endpoint(price=(100, 1000)), Request("x"))[0].cost == pytest.approx(0.2 + 0.5)
    assert ask(endpoint(price=1000), Request("x"))[0].cost == pytest.approx(2.5)
    server.says(" Paris", usage=None)
    reply = ask(endpoint(price=(1000, 0)), Request("x" * 4000))[0]
    assert reply.cost == pytest.approx(1.0)  # an estimate: four characters per token


def test_long_texts_are_cut_at_the_beginning_and_the_evidence_says_so(server, endpoint):
    [reply] = ask(endpoint(characters=20), Request("word " * 40))
    assert server.seen[0][2]["prompt"] == "word " * 4
    assert "only the last 20 characters" in reply.candidates[0].evidence


def test_it_serves_several_event_loops_and_its_thread_ends_with_it(server):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "lacy-loop"]

    before = len(threads())
    source = Endpoint(server.url, "m")
    for _ in range(3):
        assert said(source, "x") == " Paris"
    [thread] = threads()[before:]
    del source
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_closed_endpoint_answers_with_an_error(server, endpoint):
    source = endpoint()
    source.close()
    source.close()
    assert "it is closed" in ask(source, Request("x"))[0].error

    async def closed_meanwhile():
        source = endpoint()
        server.play = lambda handler, number: server.stop.wait(PATIENCE)
        asked = asyncio.create_task(source.ask([Request("x")]))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(source.close)
        return await asked

    assert "closed" in asyncio.run(closed_meanwhile())[0].error


def test_a_cancelled_caller_ends_the_request(server, endpoint):
    server.play = lambda handler, number: server.stop.wait(PATIENCE)

    async def impatient(source):
        await asyncio.wait_for(source.ask([Request("x")]), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient(endpoint()))


def refusal(message, param=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param}}


def newer_model(handler, number):
    """Reject parameters as newer OpenAI models do."""
    body = handler.body
    if not handler.path.endswith("/chat/completions"):
        return handler.say(refusal("This is a chat model", "model"), 404)
    if "max_tokens" in body:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return handler.say(refusal(message, "max_tokens"), 400)
    if "temperature" in body:
        message = "Unsupported value: 'temperature' does not support 0 with this model."
        return handler.say(refusal(message, "temperature"), 400)
    if body["messages"][0]["role"] == "system":
        message = "Unsupported value: 'messages[0].role' does not support 'system'."
        return handler.say(refusal(message, "messages[0].role"), 400)
    if body["stream"]:
        return handler.say(refusal("Your organization must be verified to stream", "stream"), 400)
    if body["max_completion_tokens"] < 1000:  # its thoughts take what there is
        choice = {"message": {"content": ""}, "finish_reason": "length"}
        usage = {"prompt_tokens": 9, "completion_tokens": body["max_completion_tokens"],
                 "completion_tokens_details": {"reasoning_tokens": 40}}  # fmt: skip
        return handler.say({"choices": [choice], "usage": usage})
    handler.say({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]})


def test_parameters_that_a_newer_model_rejects_are_learned_once(server, endpoint):
    server.play = newer_model
    source = endpoint(retries=0)
    [reply] = ask(source, Request("He was born in"))
    assert reply.candidates[0].text == " Paris"
    assert "asked without temperature" in reply.candidates[0].evidence
    asked = len(server.seen)
    assert asked == 7  # completions, four refusals, thoughts that had no room, the answer
    assert said(source, "He was born in") == " Paris"
    assert len(server.seen) == asked + 1
    body = server.seen[-1][2]
    assert body["max_completion_tokens"] == 16 + CHAT_TOKENS + REASONING_TOKENS
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert body["messages"][0]["content"].endswith("<text>He was born in</text>")


def test_a_rejection_that_names_no_parameter_is_an_error(server, endpoint):
    server.play = lambda handler, number: handler.say(refusal("max_tokens is too large"), 400)
    [reply] = ask(endpoint(mode="completions"), Request("x"))
    assert "HTTP 400 max_tokens is too large" in reply.error and len(server.seen) == 1


def test_endless_reasoning_is_an_error(server, endpoint):
    def play(handler, number):
        message = {"content": None, "reasoning_content": "Who is he?"}
        handler.say({"choices": [{"message": message, "finish_reason": "length"}]})

    server.play = play
    [reply] = ask(endpoint(mode="chat"), Request("x"))
    assert "still reasoning" in reply.error and len(server.seen) == 2


SECRET = "sk-sesame-0123456789"


def test_the_key_is_sent_and_never_shown(server, endpoint, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", SECRET)
    caplog.set_level("DEBUG")
    source = endpoint(key_variable="MY_KEY")
    assert said(source, "x") == " Paris"
    assert server.seen[0][1]["Authorization"] == f"Bearer {SECRET}"
    shown = [repr(source), repr(vars(source)), repr(source.settings()), caplog.text]

    def repeats_it(handler, number):
        handler.say({"error": {"message": f"wrong key {handler.headers['Authorization']}"}}, 401)

    server.play = repeats_it
    [reply] = ask(source, Request("x"))
    assert "HTTP 401 wrong key Bearer (the key); set the key: export MY_KEY=" in reply.error
    server.play = lambda handler, number: handler.say(f"<{SECRET}>".encode(), 500, X_Key=SECRET)
    shown += [reply.error, *(r.error for r in ask(source, Request("x"), Request("y")))]
    assert SECRET not in "".join(shown)


@pytest.mark.parametrize("key", ["two words of a key", "line\nbreak", "schlüssel-geheim", "a\x00b"])
def test_an_invalid_key_is_not_repeated_in_the_error(server, endpoint, monkeypatch, key):
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    [reply] = ask(endpoint(), Request("x"))
    assert "the key in OPENAI_API_KEY contains" in reply.error and key not in reply.error
    assert server.seen == []


@pytest.mark.parametrize(
    "url",
    ["localhost:8000/v1", "ftp://host/v1", "http://", "http://u:geheim@host/v1", "http://h:x/v1",
     "http://host/v1?api_key=geheim", "http://host/v1#geheim", "", "http://[::1/v1"],
)  # fmt: skip
def test_addresses_are_checked_without_repeating_secrets(url):
    with pytest.raises(LacyError) as caught:
        Endpoint(url, "m")
    assert caught.value.code == "E72" and "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"retries": -1}, {"concurrency": 0}, {"characters": 0}, {"mode": "talk"},
     {"max_tokens": 0}, {"max_tokens": {"word": 0}}, {"max_bytes": 0}, {"timeout": float("nan")}],
)  # fmt: skip
def test_settings_are_checked(wrong):
    with pytest.raises(LacyError) as caught:
        Endpoint("http://localhost/v1", "m", **wrong)
    assert caught.value.code == "E12"


def test_an_engine_uses_its_answers(server, endpoint):
    server.says(" Paris, France", usage=(10, 4))
    loaded = scripted(
        next_text=lambda text: "." if text.endswith("Paris") else "",
        call=lambda text: text.endswith(" in"),
    )
    engine = Engine(loaded, endpoint(price=1000), "threshold=0")
    for _ in range(2):  # each with an event loop of its own
        [answer] = engine.generate(["He was born in"])
        assert answer.text == "He was born in Paris."
        [span] = [span for span in answer.spans if span.asked]
        assert span.speaker == "m" and span.cost == pytest.approx(0.014) and span.seconds > 0


def test_an_address_is_a_source_on_the_command_line(server):
    source = open_source(f"{server.url}#Qwen/Qwen3-0.6B:free")
    assert said(source, "He was born in") == " Paris"
    assert source.name == "Qwen/Qwen3-0.6B:free" == server.seen[0][2]["model"]
    source.source.close()
    server.seen.clear()
    assert main(["source", "ask", f"{server.url}#m", "He was born in"]) == 0
    assert server.seen[0][2]["prompt"] == "He was born in"
    for wrong in ("", "#", "?key=geheim#m"):
        with pytest.raises(LacyError) as caught:
            open_source(server.url + wrong)
        assert caught.value.code == "E72" and "geheim" not in str(caught.value)
