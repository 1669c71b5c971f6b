"""Validation of a body takes linear time, whatever it contains."""

import json
import threading
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from helpers.serving import JSON, problem
from lacy.serve.bodies import ChatBody, CompletionBody
from lacy.serve.messages import Strict

KINDS = {"completions": CompletionBody, "chat/completions": ChatBody}
SOUND = {
    "completions": {"model": "slm", "prompt": "a"},
    "chat/completions": {"model": "slm", "messages": [{"role": "user", "content": "a"}]},
}
SIZE = 700_000


def repeated(element):
    """As many elements as fit into about 0.7 MB of JSON."""
    return [element] * (SIZE // (len(json.dumps(element)) + 2))


def keys(value=1):
    return {f"k{number}": value for number in range(SIZE // 14)}


HOSTILE = [
    *[("completions", {"prompt": repeated(e)}) for e in ({}, ["a"], [], 1.5, None, [1.5], -1, "")],
    ("completions", {"prompt": [*repeated(1), "a"]}),
    ("completions", {"prompt": repeated([1])}),
    ("completions", {"prompt": repeated(1)}),
    ("completions", {"stop": repeated(1)}),
    ("completions", {"stop": repeated("")}),
    ("completions", keys()),
    ("completions", {"lacy": keys()}),
    ("completions", {"logit_bias": keys()}),
    ("completions", {"seed": "9" * SIZE}),
    ("completions", {"temperature": "9" * SIZE}),
    ("completions", {"k" * SIZE: 1}),
    *[("chat/completions", {"messages": repeated(e)}) for e in ({}, 1, [], {"a": 1, "b": 2})],
    *[
        ("chat/completions", {"messages": [{"role": "user", "content": repeated(e)}]})
        for e in ({}, 1, "", {"type": "x", "a": 1}, {"type": "text", "text": ""})
    ],
    ("chat/completions", {"messages": [{"role": "user", "content": "a", **keys()}]}),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": "a", "tool_calls": repeated([])}]},
    ),
    ("chat/completions", {"tools": repeated({})}),
    ("chat/completions", {"response_format": keys([])}),
]  # fmt: skip


def errors_of(path, body):
    try:
        KINDS[path].model_validate(SOUND[path] | body)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize(("path", "body"), HOSTILE)
def test_the_number_of_errors_does_not_grow_with_the_body(path, body):
    assert errors_of(path, body) <= 10


wrong = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content", "a", "b"]), inner)
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(element=wrong, path=st.sampled_from(list(KINDS)), data=st.data())
def test_a_longer_list_has_no_more_errors(element, path, data):
    field = data.draw(st.sampled_from(list(KINDS[path].model_fields)))
    few, many = errors_of(path, {field: [element] * 2}), errors_of(path, {field: [element] * 500})
    assert many <= few + 1  # too long


def parts_of(schema):
    """A schema and every schema inside it."""
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from parts_of(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from parts_of(part)


def test_every_list_and_object_of_a_body_is_bounded(server):
    """Checks the schemas of all paths, so that it also covers fields and paths added later."""
    routes = [route for route in server.server.config.app.routes if getattr(route, "methods", None)]
    fields = [route.body_field for route in routes if getattr(route, "body_field", None)]
    assert len(fields) >= 2
    seen = set()
    for field in fields:
        for schema in parts_of(TypeAdapter(field.field_info.annotation).core_schema):
            what = schema.get("type")
            if not isinstance(what, str):  # the fields of an object, one of them called "type"
                continue
            seen.add(what)
            if what in ("list", "set", "frozenset", "tuple"):
                assert schema.get("fail_fast"), schema
            if what == "model" and schema["config"].get("extra_fields_behavior") == "forbid":
                assert issubclass(schema["cls"], Strict), schema["cls"]
            if what == "dict":  # a key is always a text, so only values could be wrong
                assert schema["values_schema"]["type"] == "any", schema
    assert {"list", "model", "union"} <= seen


RAW = [
    b'{"model": "slm", "prompt": "a", "user": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
    b'{"model": "slm", "prompt": "a", "user": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    b'{"model": "slm", "prompt": "a", "seed": ' + b"9" * SIZE + b"}",
    b'{"model": "slm", "prompt": [' + b"9" * SIZE + b"]}",
    b'{"model": "slm", "prompt": "a", "max_tokens": 1e' + b"9" * SIZE + b"}",
    b'{"model": "slm", "prompt": "a", "temperature": 3' + b"0" * SIZE + b".5}",
    b'{"model": "slm", ' + b'"max_tokens": 1, ' * 40_000 + b'"prompt": 1}',
    b"[" + b"{}," * 200_000 + b"{}]",
    b"\xff" * SIZE,
    b"",
]


def test_others_are_answered_while_hostile_bodies_come(server):
    """The number of answers is compared, not the time: each hostile body gets one in return."""
    stop, answered = threading.Event(), []

    def ask():
        with httpx.Client() as client:
            while not stop.is_set():
                answered.append(client.get(server.url + "/health", timeout=60).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        sent = [(path, json.dumps(SOUND[path] | body).encode()) for path, body in HOSTILE[::4]]
        for path, raw in [*sent, *[("completions", raw) for raw in RAW]]:
            before = len(answered)
            url = f"{server.url}/v1/{path}"
            got = httpx.post(url, content=raw[: 1 << 20], headers=JSON, timeout=60)
            error = problem(got, 400)
            assert len(got.content) < 5000 and len(error["message"]) < 2500
            while len(answered) == before:
                assert thread.is_alive()
                time.sleep(0.001)
    finally:
        stop.set()
        thread.join()
    assert set(answered) == {200}
