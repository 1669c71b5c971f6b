"""Unsupported fields are accepted if they have no effect, and refused by name otherwise."""

import pytest

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.serve.fields import NO_EFFECT
from lacy.sources import ScriptedSource
from lacy.testing import scripted

CHAT = {"model": "slm", "messages": [{"role": "user", "content": "Mara"}], "max_tokens": 1}
PLAIN = {"model": "slm", "prompt": "Mara", "max_tokens": 1}
BOTH = [("/v1/completions", PLAIN), ("/v1/chat/completions", CHAT)]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}

ASK_FOR_NOTHING = [
    {"repetition_penalty": 1.0}, {"top_k": -1}, {"top_k": 0}, {"min_p": 0}, {"min_p": 0.0},
    {"min_tokens": 0}, {"presence_penalty": 0, "frequency_penalty": 0.0}, {"logit_bias": {}},
    {"n": 1}, {"user": "u", "metadata": {"chat": "1"}, "store": False}, {"seed": None},
    {"service_tier": "auto"}, {"reasoning_effort": "low"}, {"ignore_eos": False},
    {"stop_token_ids": []}, {"skip_special_tokens": True}, {"use_beam_search": False},
    {"length_penalty": 1.0}, {"chat_id": "c", "session_id": "s"}, {"stream_options": None},
    {"safety_identifier": "x", "prompt_cache_key": "k"}, {"temperature": None, "top_p": None},
    {"stop": None, "n": None, "stream": None, "logprobs": None, "lacy": None},
    {"ignore_eos": None, "min_tokens": None}, dict.fromkeys(
        name for name in NO_EFFECT if name.startswith(("guided", "repet", "min_p", "top_k"))),
]  # fmt: skip


@pytest.mark.parametrize("more", ASK_FOR_NOTHING, ids=str)
def test_values_without_effect_are_accepted(server, more):
    for path, body in BOTH:
        wanted = server.post(path, **body).json()["choices"]
        got = server.post(path, **body | more)
        assert got.status_code == 200, got.text
        choices = got.json()["choices"]
        for choice in (*choices, *wanted):
            for span in choice["lacy"]["spans"]:
                span["seconds"] = 0
            choice["lacy"]["seconds"] = 0
        assert choices == wanted


@pytest.mark.parametrize("more", [
    {"tools": []}, {"tools": None}, {"tools": [TOOL], "tool_choice": "none"},
    {"functions": [TOOL["function"]], "function_call": "none"}, {"tool_choice": "auto"},
    {"response_format": {"type": "text"}}, {"parallel_tool_calls": True},
    {"modalities": ["text"], "audio": None}, {"chat_template_kwargs": {}},
    {"add_generation_prompt": True, "continue_final_message": False}, {"top_logprobs": 0},
    {"max_completion_tokens": 1, "max_tokens": None},
], ids=str)  # fmt: skip
def test_fields_of_chats(server, more):
    got = server.post("/v1/chat/completions", **CHAT | more)
    assert got.status_code == 200, got.text


def test_fields_of_completions(server):
    for more in ({"suffix": None}, {"suffix": ""}, {"best_of": 1}, {"best_of": 2, "n": 2},
                 {"echo": False, "logprobs": None}):  # fmt: skip
        got = server.post("/v1/completions", **PLAIN | more)
        assert got.status_code == 200, got.text
    got = server.post("/v1/completions", **PLAIN | {"max_tokens": 0}).json()
    assert got["choices"][0]["text"] == "" and got["choices"][0]["finish_reason"] == "length"
    assert got["usage"]["completion_tokens"] == 0 and got["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(("more", "param"), [
    ({"repetition_penalty": 1.1}, "repetition_penalty"), ({"top_k": 40}, "top_k"),
    ({"min_p": 0.1}, "min_p"), ({"logit_bias": {"1": 2}}, "logit_bias"),
    ({"stop_token_ids": [7]}, "stop_token_ids"), ({"guided_regex": "a+"}, "guided_regex"),
    ({"presence_penalty": -1}, "presence_penalty"), ({"skip_special_tokens": False},
    "skip_special_tokens"), ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": False, "stream_options": {}}, "stream_options"), ({"min_tokens": 2}, "min_tokens"),
    ({"min_tokens": -1}, "min_tokens"), ({"n": 0}, "n"), ({"repitition_penalty": 1.0},
    "repitition_penalty"),
], ids=str)  # fmt: skip
def test_unsupported_fields_are_refused_by_name(server, more, param):
    for path, body in BOTH:
        got = server.post(path, **body | more)
        assert got.status_code == 400, got.text
        assert got.json()["error"]["param"] == param and param in got.json()["error"]["message"]


@pytest.mark.parametrize("more", [
    {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "auto"}, {"functions": [TOOL["function"]]},
    {"response_format": {"type": "json_object"}}, {"tool_choice": "required"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
], ids=str)  # fmt: skip
def test_structured_output_is_refused_with_a_link_to_the_docs(server, more):
    got = server.post("/v1/chat/completions", **CHAT | more).json()["error"]
    assert got["code"] == "unsupported" and got["param"] in more
    assert "docs/how-to/clients.md" in got["message"]


@pytest.mark.parametrize(("more", "tokens"), [
    ({}, 3), ({"ignore_eos": True}, 9), ({"min_tokens": 6}, 6),
    ({"ignore_eos": True, "temperature": 1, "seed": 4}, 9), ({"min_tokens": 2}, 3),
], ids=str)  # fmt: skip
def test_ignore_eos_and_min_tokens_continue_a_text(more, tokens):
    """The model writes "abc" and ends; its source does the same."""
    loaded = scripted(lambda text: "abc"[len(text) - 1 :], lambda text: False)
    with serving(Engine(loaded, ScriptedSource([None]), "never")) as running:
        for stream in (False, True):
            got = running.complete("x", max_tokens=9, stream=stream, **more)
            if not stream:
                told = got.json()
                assert told["usage"]["completion_tokens"] == tokens
                assert told["choices"][0]["text"].startswith("abc")
                finish = "length" if more.get("ignore_eos") else "stop"
                assert told["choices"][0]["finish_reason"] == finish
