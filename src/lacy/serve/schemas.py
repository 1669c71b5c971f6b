"""Schemas of responses for the OpenAPI description; ``formats`` builds the responses themselves."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field


class SpanSchema(BaseModel):
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
    fault: bool
    relation: str
    subject: str
    score: float | None
    missing: str


class LacySchema(BaseModel):
    """The field ``lacy`` of a choice."""

    policy: str
    spans: list[SpanSchema]
    calls: int
    called_tokens: int
    cost: float | None
    seconds: float | None
    hint: str = ""
    """How to rephrase a prompt that is a question, if the model only continues texts."""


class TextLogprobs(BaseModel):
    """Log-probabilities of a completion."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TokenLogprob(BaseModel):
    """A token and its log-probability."""

    token: str
    logprob: float | None
    bytes: list[int]


class MessageToken(TokenLogprob):
    """A token of a chat message, with the likeliest tokens at its position."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities of a chat message."""

    content: list[MessageToken]
    refusal: None


class CompletionChoice(BaseModel):
    """One answer to a prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]
    lacy: LacySchema


class ChatMessage(BaseModel):
    """The message of a choice in a chat."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer in a chat."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    lacy: LacySchema


class UsageSchema(BaseModel):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerBase(BaseModel):
    """Fields of completions and chats."""

    id: str
    created: int
    model: str
    usage: UsageSchema


class Completion(AnswerBase):
    """The answer of ``/v1/completions``."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class ChatCompletion(AnswerBase):
    """The answer of ``/v1/chat/completions``."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class OutputText(BaseModel):
    """The text content of a response."""

    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[MessageToken]


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
    """The reason why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseSchema(BaseModel):
    """The answer of ``/v1/responses``."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    incomplete_details: Incomplete | None
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage
    lacy: LacySchema


class ModelSchema(BaseModel):
    """A model of the server."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    permission: list[None]
    max_model_len: int
    """The context length: maximum number of tokens of prompt and answer together."""
    capabilities: list[Literal["completion", "chat", "decision"]]
    """What the model can be asked for: continuations, answers in a chat, typed decisions."""


class ModelCard(BaseModel):
    """A model as clients of the System One API list it."""

    name: str
    description: str
    release_date: str
    """The day on which the server was started."""


class ModelList(BaseModel):
    """All models of the server, for clients of OpenAI (``data``) and of System One (``models``)."""

    object: Literal["list"]
    data: list[ModelSchema]
    models: list[ModelCard]


class PriceSchema(BaseModel):
    """US dollars per million tokens."""

    input: float
    output: float


class SourceSchema(BaseModel):
    """A source and its status."""

    name: str
    kind: str
    where: str | None
    price: PriceSchema | None
    resting: bool
    failing: bool
    """True if its last request failed."""
    requests: int
    found: int
    not_found: int
    errors: int
    """Number of requests that failed; finding nothing is not a failure."""
    seconds_median: float | None
    seconds_p95: float | None
    cost: float | None


class ServerInfo(BaseModel):
    """The model, defaults and sources of a server."""

    model: str
    policy: str
    unit: str
    chat: bool
    decisions: bool
    """True if the server makes typed decisions (``/v1/systemone``)."""
    feedback: bool
    """True if the server keeps records of answers, and users' verdicts on them."""
    prompts: list[str]
    sources: list[SourceSchema]


class FeedbackSchema(BaseModel):
    """The response to a verdict."""

    object: Literal["feedback"]
    id: str
    choice: int
    verdict: Literal["right", "wrong"]
    start: int | None
    end: int | None
    correct: str | None
    """The right value as stored; null if the user gave none or the server stores no texts."""


class Health(BaseModel):
    """The response of a running server."""

    status: Literal["ok"]


class ErrorDetails(BaseModel):
    """An error in OpenAI's format."""

    message: str = Field(min_length=1)
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of an error response."""

    error: ErrorDetails


_REASONS = {
    400: "the request is invalid or exceeds a limit",
    401: "no valid API key",
    404: "there is no such model, path or answer",
    408: "the body did not arrive in time",
    413: "the body is too large",
    421: "this host name is not allowed",
    429: "too many texts at once, or too many for this key; `Retry-After` says when to retry",
    500: "a bug in lacy",
    501: "this server's model makes no typed decisions",
    503: "the server is shutting down",
}
_RETRY = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return descriptions of a path's error responses: these statuses and those of all paths."""
    descriptions: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 401, 421, 429, 500):
        descriptions[status] = {"model": ErrorBody, "description": _REASONS[status]}
        if status in (429, 503):
            descriptions[status]["headers"] = _RETRY
    return descriptions


def generation_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return descriptions of the responses, whole or streamed, of a path that generates text."""
    data = {"type": "string", "description": "a chunk as JSON, or [DONE]"}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    stream = {"text/event-stream": {"schema": event}}
    answer = {"model": model, "content": stream, "description": "whole, or as a stream of chunks"}
    return {200: answer} | error_responses(400, 404, 408, 413, 503)


def adapt_openapi(app: FastAPI, *, keys: bool) -> None:
    """Adapt the OpenAPI description: an invalid body gives 400, not 422, and keys may be needed."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        cached = app.openapi_schema is not None
        description = generate()
        if cached:
            return description
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        components = description["components"]
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        if keys:
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            description["security"] = [{"key": []}]
            description["paths"]["/health"]["get"]["security"] = []
        return description

    app.openapi = openapi  # type: ignore[method-assign]
