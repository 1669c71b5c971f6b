"""Streams in servers' formats, byte by byte over HTTP: no finished answer is lost or changed."""

import asyncio
import gzip
import json

import pytest

from lacy.sources.models import Endpoint
from lacy.types import Request

pytestmark = pytest.mark.slow

TEXT = "Emil Quilodell was born in"
WORDS = [" Łó", "dź", ", 東京", " and", " Åre"]


def data(event, space=" "):
    return f"data:{space}{json.dumps(event, ensure_ascii=False)}".encode()


def chunk(text=None, finish=None, **more):
    """Return an event of a chat."""
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def plain(text, finish=None, **more):
    """Return an event of a raw completion."""
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}


def stream(*events, end=b"\n\n", space=" ", done=b"data: [DONE]", last=None):
    parts = [one if isinstance(one, bytes) else data(one, space) for one in events]
    parts += [done] if done else []
    return end.join(parts) + (end if last is None else last)


SPOKEN = [chunk(word) for word in WORDS]
FINISHED = [*SPOKEN, chunk(finish="stop")]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
ERROR = {"error": {"message": "no memory", "code": 500}}
LAST = {"choices": [{"index": 0, "delta": {"content": WORDS[-1]}, "finish_reason": "stop"}]}
HALVES = b'data: {"choices":[{"delta":{"content":" \xc5"}}]}\n\n' + (
    b'data: {"choices":[{"delta":{"content":"\x81\xc3\xb3d\xc5\xba"}}]}\n\n'
)
ANTHROPIC = b"".join(
    f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()
    for kind, more in [
        ("message_start", {"message": {"role": "assistant", "content": []}}),
        ("ping", {}),
        ("content_block_delta", {"delta": {"type": "text_delta", "text": " Łódź, 東京"}}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}}),
        ("message_stop", {}),
    ]
)
OLLAMA = [
    {"message": {"role": "assistant", "content": "Łódź, 東京"}, "done": False},
    {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
]
WHOLE = {"choices": [{"message": {"content": "".join(WORDS)}, "finish_reason": "stop"}]}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Who?"}]}]

# name: the body, and its content type where that is not text/event-stream
SOUND = {
    "OpenAI": stream(chunk("", role="assistant"), *FINISHED),
    "OpenAI with usage": stream(*FINISHED, {"choices": [], "usage": USAGE}),
    "Azure": stream(
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
        *SPOKEN,
        {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}]},
        chunk(finish="stop"),
    ),
    "vLLM with running usage": stream(
        *(chunk(word, usage=USAGE) for word in WORDS), chunk(finish="stop", usage=USAGE)
    ),
    "TGI without a space": stream(*FINISHED, space="", done=b"data:[DONE]"),
    "no [DONE]": stream(*FINISHED, done=b""),
    "no reason to finish": stream(*SPOKEN),
    "an empty reason all the time": stream(*(chunk(word, "") for word in WORDS), chunk("", "stop")),
    "the word null as reason": stream(*(chunk(word, "null") for word in WORDS), chunk("", "eos")),
    "neither, but usage": stream(*SPOKEN, {"choices": [], "usage": USAGE}, done=b""),
    "the reason with the last text": stream(*SPOKEN[:-1], LAST),
    "nothing after the reason": stream(*SPOKEN[:-1], LAST, done=b""),
    "no blank line at the end": stream(*SPOKEN[:-1], LAST, done=b"", last=b"\n"),
    "no line end at the end": stream(*SPOKEN[:-1], LAST, done=b"", last=b""),
    "OpenRouter": stream(b": OPENROUTER PROCESSING", b": OPENROUTER PROCESSING", *FINISHED),
    "CR": stream(*FINISHED, end=b"\r\r"),
    "CR LF": stream(*FINISHED, end=b"\r\n\r\n"),
    "mixed ends": stream(*FINISHED, end=b"\r\n\n"),
    "single line ends": stream(*FINISHED, end=b"\n"),
    "a BOM": b"\xef\xbb\xbf" + stream(*FINISHED),
    "blank lines first": b"\n\n\n" + stream(*FINISHED),
    "a blank line in a frame": stream(*FINISHED, end=b"\n\n\n\n"),
    "ids, retries, kinds": stream(
        b"retry: 3000\nid: 1\nevent: completion", *FINISHED, end=b"\nid: 7\nevent: message\n\n"
    ),
    "fields without a colon": stream(b"data", b"event", *FINISHED, end=b"\nid\nfoo\n\n"),
    "empty data": stream(b"data:", b"data: ", *FINISHED),
    "data over several lines": b'data: {"choices": [{"text":\ndata: " \xc5\x81\xc3\xb3d\xc5\xba"'
    b',\ndata: "finish_reason": "stop"}]}\n\n',
    "pings": stream(b"event: ping\ndata: {}", b"event: heartbeat\ndata: now", *FINISHED),
    "null events": stream(b"data: null", *FINISHED),
    "events of other kinds": stream({"type": "queue", "position": 3}, *FINISHED),
    "packed twice": stream(
        *(b"data: " + data(event) for event in FINISHED), done=b"data: data: [DONE]"
    ),
    "quoted end": stream(*FINISHED, done=b'data: "[DONE]"'),
    "text of raw completions": stream(*(plain(word) for word in WORDS), plain("", "stop")),
    "text although chatting": stream(*(plain(word) for word in WORDS), plain("", "stop")),
    "whole messages as events": stream(WHOLE),
    "content as parts": stream(
        chunk(PARTS),
        *(chunk([{"type": "text", "text": word}]) for word in WORDS),
        chunk("", "stop"),
    ),
    "thoughts apart": stream(
        {"choices": [{"delta": {"content": None, "reasoning_content": "Who?"}}]},
        {"choices": [{"delta": {"content": "", "reasoning": "Hm."}}]},
        *FINISHED,
    ),
    "a second answer": stream(
        *(
            {"choices": [{"index": n, "delta": {"content": word}}]}
            for said in WORDS
            for n, word in ((1, " Roston"), (0, said))
        ),
        chunk(finish="stop"),
    ),
    "null content at the end": stream(
        *SPOKEN, {"choices": [{"delta": {"content": None}, "finish_reason": "stop"}]}
    ),
    "a character cut in two": HALVES + stream(chunk(", x"), chunk(finish="stop")),
    "surrogates cut in two": stream(
        b'data: {"choices":[{"delta":{"content":" \\ud83d"}}]}',
        b'data: {"choices":[{"delta":{"content":"\\ude00 \xc5\x81\xc3\xb3d\xc5\xba, x"}}]}',
        chunk(finish="stop"),
    ),
    "Anthropic": ANTHROPIC,
    "an error after the end": stream(*FINISHED, ERROR),
    "nonsense after the end": stream(*FINISHED, b"data: {oops"),
    "Mistral's reason": stream(*SPOKEN, chunk("", "model_length")),
    "a filter that let it pass": stream(
        *SPOKEN, {**chunk(finish="stop"), "content_filter_results": {"hate": {"filtered": False}}}
    ),
    "JSON": json.dumps(WHOLE).encode(),
    "JSON of parts": json.dumps(
        {"choices": [{"message": {"content": [*PARTS, {"type": "text", "text": "Łódź, 東京"}]}}]}
    ).encode(),
    "JSON over several lines": json.dumps(WHOLE, indent=2).encode(),
    "JSON with a BOM": b"\xef\xbb\xbf" + json.dumps(WHOLE).encode(),
    "JSON lines": b"\n".join(json.dumps(event).encode() for event in FINISHED),
    "JSON lines of Ollama": b"\n".join(json.dumps(event).encode() for event in OLLAMA),
    "JSON lines with an end": b"\n".join(json.dumps(e).encode() for e in FINISHED) + b"\n[DONE]\n",
}  # fmt: skip
WANTED = {"surrogates cut in two": " 😀"}

BROKEN = {
    "filtered": (stream(chunk("Łódź"), chunk(finish="content_filter")), "content_filter"),
    "filtered at once": (stream(chunk(finish="content_filter")), "content_filter"),
    "safety": (stream(chunk("Łó", "SAFETY")), "SAFETY"),
    "an unknown reason": (stream(chunk("Łódź"), chunk(finish="banana")), "banana"),
    "tools": (
        stream(
            {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, chunk(finish="tool_calls")
        ),
        "tool_calls",
    ),
    "a refusal": (
        stream({"choices": [{"delta": {"refusal": "I can't."}}]}, chunk(finish="stop")),
        "refusal: I can't.",
    ),
    "a refusal, whole": (
        json.dumps({"choices": [{"message": {"content": None, "refusal": "No."}}]}).encode(),
        "refusal: No.",
    ),
    "an error": (stream(chunk("Łó"), ERROR), "no memory"),
    "llama.cpp's error": (stream(chunk("Łó"), b'error: {"message":"no memory"}'), "no memory"),
    "an event of errors": (
        stream(chunk("Łó"), b'event: error\ndata: {"message":"no memory"}'), "no memory",
    ),
    "an error in words": (stream(chunk("Łó"), b"event: error\ndata: no memory"), "no memory"),
    "TGI's error": (
        stream(chunk("Łó"), b'data:{"error":"no memory","error_type":"generation"}'), "no memory",
    ),
    "vLLM's error": (
        stream(chunk("Łó"), {"object": "error", "message": "no memory", "code": 500}), "no memory",
    ),
    "OpenRouter's error": (
        stream(chunk("Łó"), {"choices": [{"delta": {"content": ""}, "finish_reason": "error",
                                          "error": {"message": "no memory"}}]}),
        "no memory",
    ),
    "an error as JSON": (json.dumps(ERROR).encode(), "no memory"),
    "an error as a line": (
        json.dumps(chunk("Łó")).encode() + b"\n" + json.dumps(ERROR).encode(), "no memory",
    ),
    "cut off": (stream(*SPOKEN, done=b""), "ended before the answer did"),
    "cut in an event": (stream(*SPOKEN, done=b"")[:-9], "not JSON"),
    "U+FFFD": (stream(chunk("Ł\ufffddź, x"), chunk(finish="stop")), "half a character"),
    "half a character at the end": (HALVES[:48] + stream(chunk(finish="stop")), "not UTF-8"),
    "only thoughts": (
        stream({"choices": [{"delta": {"reasoning_content": "Who?"}}]}, chunk(finish="length")),
        "still reasoning",
    ),
}  # fmt: skip


def plays(body, size, **headers):
    def play(handler, number):
        kind = "application/json" if body[:1] == b"{" else "text/event-stream"
        handler.send_response(200)
        for name, value in {"Content_Type": kind, **headers}.items():
            if value:
                handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), size):
            part = body[start : start + size]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return play


def ask(server, stream=True, mode="chat", unit="word", **options):
    options = {"timeout": 5.0, "retries": 0, "key_variable": None, **options}
    with Endpoint(server.url, "m", mode=mode, stream=stream, **options) as source:
        [reply] = asyncio.run(source.ask([Request(TEXT, unit)]))
    return reply


@pytest.mark.parametrize("name", SOUND)
def test_finished_answers_are_read_exactly(server, name):
    for size in (1, 7, 100_000):
        for mode in ("chat", "completions"):
            server.play = plays(SOUND[name], size)
            reply = ask(server, mode=mode)
            assert reply.error is None, reply.error
            assert reply.candidates[0].text.strip() == WANTED.get(name, " Łódź").strip()


@pytest.mark.parametrize("name", ["OpenAI", "CR LF", "JSON", "JSON lines", "OpenRouter"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/event-stream", ""])
def test_the_format_is_recognised_from_the_body_not_the_header(server, name, kind):
    server.play = plays(SOUND[name], 5, Content_Type=kind)
    for asked_for in (True, False):
        assert ask(server, stream=asked_for).candidates[0].text == " Łódź"


@pytest.mark.parametrize("name", ["OpenAI", "JSON"])
def test_a_compressed_body_is_decompressed(server, name):
    server.play = plays(gzip.compress(SOUND[name]), 3, Content_Encoding="gzip")
    assert ask(server).candidates[0].text == " Łódź"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_with_a_reason(server, name):
    body, says = BROKEN[name]
    for size in (1, 100_000):
        server.play = plays(body, size)
        reply = ask(server)
        assert not reply.candidates and reply.fault and says in reply.error, reply.error


def test_a_connection_left_open_after_the_end_keeps_the_answer(server):
    def stays(handler, number):
        body = stream(*SPOKEN[:1], chunk("dź", "stop"), done=b"")
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.server.stop.wait(20)

    server.play = stays
    assert ask(server, timeout=15.0).candidates[0].text == " Łódź"
    assert ask(server, timeout=15.0, price=1.0).candidates[0].text == " Łódź"
