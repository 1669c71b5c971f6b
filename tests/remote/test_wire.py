"""Errors in the words of real servers, and the requests sent after them."""

import json

import pytest

from lacy.remote.errors import redact
from lacy.remote.wire import AcceptedParameters, content_text, error_message, finish_reason

BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
    "max_tokens": 40, "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
    "seed": 7, "stop": ["\n"], "logprobs": True,
}  # fmt: skip


def openai(message, param=None, code=None):
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }


def fastapi(*fields, message="Extra inputs are not permitted"):
    problems = [
        {"type": "extra_forbidden", "loc": ["body", field], "msg": message, "input": BODY}
        for field in fields
    ]
    return {"detail": problems}


REFUSALS = [
    # OpenAI
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                 "'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter"),
     {"max_tokens"}),
    (400, openai("Unsupported value: 'temperature' does not support 0 with this model. Only the "
                 "default (1) value is supported.", "temperature", "unsupported_value"),
     {"temperature"}),
    (400, openai("Unsupported parameter: 'stop' is not supported with this model.", "stop",
                 "unsupported_parameter"), {"stop"}),
    (400, openai("Unknown parameter: 'seed'.", "seed", "unknown_parameter"), {"seed"}),
    # Azure
    (400, openai("Unrecognized request argument supplied: stream_options"), {"stream_options"}),
    (400, openai("Unrecognized request arguments supplied: logprobs, seed"), {"logprobs", "seed"}),
    # vLLM
    (400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), "
           "'msg': 'Extra inputs are not permitted', 'input': {'stop': 1, 'logprobs': True}}]",
           "type": "BadRequestError", "param": None, "code": 400}, {"seed"}),
    # Text Generation Inference
    (422, {"error": "Input validation error: `logprobs` is not supported",
           "error_type": "validation"}, {"logprobs"}),
    (422, "Failed to deserialize the JSON body into the target type: unknown field `seed`, "
     "expected one of `model`, `messages`, `max_tokens`, `stop` at line 1 column 20", {"seed"}),
    # llama.cpp
    (400, {"error": {"code": 400, "message": "Unsupported param: logprobs", "type":
                     "invalid_request_error"}}, {"logprobs"}),
    # LiteLLM
    (400, openai("litellm.UnsupportedParamsError: openai does not support parameters: "
                 "['temperature', 'seed'], for model=o3. To drop these, set "
                 "`litellm.drop_params=True` or for proxy: max_tokens"), {"temperature", "seed"}),
    (400, openai("litellm.UnsupportedParamsError: gpt-5 models (including gpt-5-codex) don't "
                 "support temperature=0. Only temperature=1 is supported."), {"temperature"}),
    (400, openai("litellm.UnsupportedParamsError: gpt-5 models don't support temperature=0. Only "
                 "temperature=1 is supported.", "None", "400"), {"temperature"}),
    # Groq, Gemini, Mistral, Anthropic, xAI, FastAPI
    (400, openai("property 'seed' is unsupported, did you mean 'stop'?"), {"seed"}),
    (400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid JSON payload "
            "received. Unknown name \"seed\": Cannot find field."}}], {"seed"}),
    (422, {"object": "error", "message": fastapi("stream_options"), "type": "x"},
     {"stream_options"}),
    (400, openai("`temperature` is deprecated for this model."), {"temperature"}),
    (400, openai("max_tokens: Extra inputs are not permitted"), {"max_tokens"}),
    (400, {"code": "Client specified an invalid argument",
           "error": "Argument not supported on this model: stop"}, {"stop"}),
    (422, fastapi("seed", "logprobs"), {"seed", "logprobs"}),
    (400, openai("Please use max_completion_tokens; max_tokens is no longer supported."),
     {"max_tokens"}),
]  # fmt: skip

NO_LESSON = [
    (400, openai("max_tokens is too large: 40. This model supports at most 16 completion tokens.",
                 "max_tokens", "invalid_value")),
    (400, openai("This model's maximum context length is 32 tokens. However, you requested 60 "
                 "tokens (20 in the messages, 40 in max_tokens). Please reduce them.", "messages")),
    (400, openai("This is a chat model and not supported in v1/completions.", "model")),
    (400, openai("The response was filtered due to the prompt triggering the content management "
                 "policy.", "prompt", "content_filter")),
    (404, openai("The model `m` does not exist or you do not have access to it.", "model")),
    (401, openai("Incorrect API key provided: temperature")),
    (429, openai("Rate limit reached for max_tokens; unsupported")),
    (500, openai("internal error: unknown temperature")),
    (400, "<html>Bad Request</html>"),
    (400, None),
    (400, [1]),
    (200, openai("Unknown parameter: 'seed'.", "seed")),
]  # fmt: skip

SYSTEMS = [
    (400, openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                 "messages[0].role", "unsupported_value")),
    (400, {"object": "error", "message": "System role not supported", "type": "BadRequestError"}),
    (500, {"error": {"code": 500, "message": "Only user and assistant roles are supported!"}}),
    (400, {"object": "error", "message": "Conversation roles must alternate user/assistant/..."}),
    (400, [{"error": {"message": "Developer instruction is not enabled for models/gemma-3-4b"}}]),
    (422, {"error": "Template error: invalid operation: System role not supported (in <s>:1)"}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "answer", "named"), REFUSALS)
@pytest.mark.parametrize("as_text", [False, True])
def test_rejected_parameters_are_left_out_afterwards(status, answer, named, as_text):
    accepted = AcceptedParameters()
    sent = accepted.adapt(BODY)
    assert sent == BODY
    assert accepted.learn(sent, status, json.dumps(answer) if as_text else answer)
    again = accepted.adapt(BODY)
    assert set(BODY) - set(again) == named
    left = {key: value for key, value in BODY.items() if key not in named}
    assert again == ({**left, "max_completion_tokens": 40} if "max_tokens" in named else left)


@pytest.mark.parametrize(("status", "answer"), NO_LESSON)
def test_other_errors_change_no_parameters(status, answer):
    accepted = AcceptedParameters()
    assert not accepted.learn(BODY, status, answer)
    assert accepted.adapt(BODY) == BODY


@pytest.mark.parametrize(("status", "answer"), SYSTEMS)
def test_system_messages_move_into_the_user_message(status, answer):
    accepted = AcceptedParameters()
    assert accepted.learn(BODY, status, answer)
    assert accepted.adapt(BODY)["messages"] == [{"role": "user", "content": "S\n\nU"}]
    assert BODY["messages"][0]["role"] == "system"  # the request itself stays
    assert not accepted.learn(accepted.adapt(BODY), status, answer)  # it was not that then


def test_several_rejections_are_combined():
    accepted = AcceptedParameters()
    limit = openai("Unsupported parameter: 'max_tokens'", "max_tokens")
    assert accepted.learn(BODY, 400, limit)
    sent = accepted.adapt(BODY)
    assert sent["max_completion_tokens"] == 40
    assert accepted.learn(sent, 400, openai("Unknown parameter", "max_completion_tokens"))
    assert not {"max_tokens", "max_completion_tokens"} & set(accepted.adapt(BODY))
    accepted = AcceptedParameters()
    positive = {"error": "Input validation error: `temperature` must be strictly positive"}
    assert accepted.learn(BODY, 422, positive)
    assert accepted.adapt(BODY)["temperature"] == 0.01 and not accepted.note
    assert accepted.learn(accepted.adapt(BODY), 422, positive)
    assert "temperature" not in accepted.adapt(BODY) and "without temperature" in accepted.note
    accepted = AcceptedParameters()
    stream = openai("Your organization must be verified to stream this model.", "stream")
    assert accepted.learn(BODY, 400, stream)
    assert accepted.adapt(BODY)["stream"] is False
    assert "stream_options" not in accepted.adapt(BODY)


def test_an_explicit_max_completion_tokens_replaces_max_tokens():
    shaped = AcceptedParameters().adapt({**BODY, "max_completion_tokens": 9})
    assert shaped["max_completion_tokens"] == 9 and "max_tokens" not in shaped


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        (None, None), ("", None), ("null", None), (5, None), ("stop", "stop"), ("STOP", "stop"),
        ("eos_token", "stop"), ("end_turn", "stop"), ("stop_sequence", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"), ("model_length", "length"), ("content_filter", "content_filter"),
        ("SAFETY", "SAFETY"), ("tool_calls", "tool_calls"), ("banana", "banana"),
    ],
)  # fmt: skip
def test_finish_reasons(reason, finish):
    assert finish_reason(reason) == finish


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"), (None, None), (5, None), ({}, None), ([], ""), (["a", "b"], "ab"),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"),
        ([{"type": "thinking", "thinking": "x"}, {"text": "a"}], "a"),
        ([{"type": "text", "text": {"value": "a"}}, {"type": "image_url"}], "a"),
    ],
)  # fmt: skip
def test_content_text(content, text):
    assert content_text(content) == text


def test_errors_are_one_line_without_the_key():
    said = error_message(openai("wrong key sk-0123456789\n\x1b[31m"), "sk-0123456789")
    assert said == "wrong key (the key) [31m"
    assert redact("x" * 500).endswith("...") and len(redact("x" * 500)) == 203
    assert (
        error_message({}) == error_message(None) == error_message({"error": {"message": [1]}}) == ""
    )
