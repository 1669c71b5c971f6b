"""The shapes of answers, for the OpenAPI description; ``shapes`` makes them."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field


class SpanTold(BaseModel):
    """A piece of an answer with its provenance."""

    text: str
    speaker: str
    tokens: int
    reason: str
    evidence: str
    margin: float | None
    cost: float | None
    seconds: float | None
    asked: bool


class Account(BaseModel):
    """``lacy`` beside a choice."""

    policy: str
    spans: list[SpanTold]
    calls: int
    called_tokens: int
    cost: float | None
    seconds: float | None
    hint: str = ""
    """How to rephrase the prompt if it asks a question of a model that only continues texts."""


class Logprobs(BaseModel):
    """Of a completion."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class Likely(BaseModel):
    """A token that was likely, too."""

    token: str
    logprob: float | None
    bytes: list[int]


class Scored(Likely):
    """A token of a chat's message."""

    top_logprobs: list[Likely]


class ChatLogprobs(BaseModel):
    """Of a chat's message."""

    content: list[Scored]
    refusal: None


class CompletionChoice(BaseModel):
    """One answer to a prompt."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"]
    lacy: Account


class ChatMessage(BaseModel):
    """What is said in a chat."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer in a chat."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    lacy: Account


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answered(BaseModel):
    """What all answers have in common."""

    id: str
    created: int
    model: str
    usage: Usage


class Completion(Answered):
    """The answer of ``/v1/completions``."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class Chat(Answered):
    """The answer of ``/v1/chat/completions``."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class OutputText(BaseModel):
    """The text content of a response."""

    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[Scored]


class OutputMessage(BaseModel):
    """The message of a response."""

    id: str
    type: Literal["message"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class ResponseUsage(BaseModel):
    """Token counts of a response."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class Incomplete(BaseModel):
    """Why a response was cut off."""

    reason: Literal["max_output_tokens"]


class Responded(BaseModel):
    """The answer of ``/v1/responses``."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    incomplete_details: Incomplete | None
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage
    lacy: Account


class Model(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    permission: list[None]
    max_model_len: int
    """The context length: most tokens of prompt and answer together."""


class Models(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class Price(BaseModel):
    """US dollars per million tokens."""

    input: float
    output: float


class SourceTold(BaseModel):
    """A source and how it has been doing (``about``)."""

    name: str
    kind: str
    where: str | None
    price: Price | None
    resting: bool
    failing: bool
    """Whether its last request failed."""
    requests: int
    found: int
    not_found: int
    errors: int
    """Requests at which the source failed; finding nothing is not a failure."""
    seconds_median: float | None
    seconds_p95: float | None
    cost: float | None


class About(BaseModel):
    """What this server is."""

    model: str
    policy: str
    unit: str
    prompts: list[str]
    sources: list[SourceTold]


class Health(BaseModel):
    """That it lives."""

    status: Literal["ok"]


class Problem(BaseModel):
    """What is wrong, in OpenAI's words."""

    message: str = Field(min_length=1)
    type: str
    param: str | None
    code: str


class Failure(BaseModel):
    """A request that is not answered."""

    error: Problem


_WHY = {
    400: "something in the request is wrong, or beyond a limit",
    401: "no valid API key",
    404: "there is no such model or path",
    408: "the body did not arrive in time",
    413: "the body is too large",
    421: "the server is not called by this name",
    429: "too much at once, or too much for this key; `Retry-After` says when to come back",
    500: "a bug",
    503: "the server is shutting down",
}
_WAIT = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of what may come instead of an answer."""
    told: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 401, 421, 429, 500):
        told[status] = {"model": Failure, "description": _WHY[status]}
        if status in (429, 503):
            told[status]["headers"] = _WAIT
    return told


def asking(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Descriptions for a path that makes the model speak, whole or in a stream."""
    data = {"type": "string", "description": "a chunk as JSON, or [DONE]"}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    stream = {"text/event-stream": {"schema": event}}
    answer = {"model": model, "content": stream, "description": "whole, or as a stream of chunks"}
    return {200: answer} | failures(400, 404, 408, 413, 503)


def describe(app: FastAPI, *, keys: bool) -> None:
    """Let the description say what the server does: 400 for a wrong body, keys where needed."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema is None
        told = plain()
        if not made:
            return told
        for path in told["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        parts = told["components"]
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        if keys:
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            told["security"] = [{"key": []}]
            told["paths"]["/health"]["get"]["security"] = []
        return told

    app.openapi = openapi  # type: ignore[method-assign]
