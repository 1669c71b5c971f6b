"""Errors in OpenAI's format: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from lacy.errors import LacyError
from lacy.serve.admission import Busy, Closing
from lacy.serve.bodies import (
    ChatBody,
    CompletionBody,
    FeedbackBody,
    InputPart,
    Item,
    LacyOptions,
    ResponseBody,
    StreamOptions,
    TextFormat,
)
from lacy.serve.decision_bodies import SystemOneBody
from lacy.serve.messages import Message, Part, ToolCall, ToolFunction

LOG = logging.getLogger("lacy.serve")

MAX_MESSAGE, MAX_PARAM = 2000, 200
"""Maximum length of a message and of a field name; both may quote the request."""

FIELDS = frozenset(
    field
    for model in (
        CompletionBody, ChatBody, ResponseBody, StreamOptions, LacyOptions, Message, Part,
        ToolCall, ToolFunction, Item, InputPart, TextFormat, FeedbackBody, SystemOneBody,
    )
    for field in model.model_fields
)  # fmt: skip
"""Names of all fields that requests can have."""


class ApiError(Exception):
    """Raised when a request is refused.

    Args:
        status: HTTP status.
        message: a message for people.
        code: a code for programs.
        param: the invalid field.
        retry: seconds after which the request may be retried.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry = status, code, param, retry

    @property
    def body(self) -> dict[str, Any]:
        """The body of the response."""
        kinds = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        param = None if self.param is None else _shorten(self.param, MAX_PARAM)
        message = _shorten(str(self), MAX_MESSAGE)
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the request may be retried; at least 1."""
        return max(1, math.ceil(self.retry or 0))

    def response(self) -> JSONResponse:
        """Return the response with its headers."""
        headers = {} if self.retry is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, self.status, headers)


def as_api_error(error: BaseException, param: str | None = None) -> ApiError:
    """Convert any exception to an ``ApiError``; details of a bug go only to the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        message = "the server is at capacity: no more texts can run or wait"
        return ApiError(429, message, "busy", retry=error.seconds)
    if isinstance(error, Closing):
        return ApiError(503, "the server is shutting down", "shutting_down", retry=5)
    if isinstance(error, LacyError):
        if error.code == "E93":  # the model is hosted, and its server does not answer
            return ApiError(502, f"{error.what}; {error.do}", error.code)
        code = "context_length_exceeded" if error.code in ("E60", "E382") else error.code
        return ApiError(400, f"{error.what}; {error.do}", code, param)
    if not hasattr(error, "logged"):  # log an error only once, even if it ends several texts
        LOG.error("a request failed", exc_info=error)
        error.logged = True  # type: ignore[attr-defined]
    return ApiError(500, "a bug in lacy; its log has the details", "internal_error")


def add_error_handlers(app: FastAPI) -> None:
    """Make an application return all errors in OpenAI's format."""

    @app.exception_handler(ApiError)
    async def api(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def body(request: Request, error: RequestValidationError) -> Response:
        first = _best_error(error.errors())
        if first["type"] == "json_invalid":
            why = f"the body is not valid JSON at character {first['loc'][-1]}"
            return ApiError(400, why, "invalid_body").response()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            why = f"the body's Content-Type is {kind!r}" if kind else "the body has no Content-Type"
            why += "; send it with the header Content-Type: application/json"
            return ApiError(400, why, "invalid_body").response()
        param = _param_of(first["loc"][1:], first["type"])
        return ApiError(400, f"{param or 'body'}: {first['msg']}", "invalid_body", param).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed", 408: "too_slow",
                 413: "body_too_large", 499: "client_left"}  # fmt: skip
        why, origin = str(error.detail), request.headers.get("origin")
        if error.status_code == 405 and request.method == "OPTIONS" and origin:
            why += f"; to allow this page, start the server with --origin {origin[:200]}"
        code = codes.get(error.status_code, "http_error")
        response = ApiError(error.status_code, why, code).response()
        response.headers.update(error.headers or {})  # 405 lists the allowed methods
        return response

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return as_api_error(error).response()


def _best_error(errors: Sequence[Any]) -> Any:
    """Return the first error; for a union type, that of the member that matches furthest."""
    field = errors[0]["loc"][:2]
    same_field = [error for error in errors if error["loc"][:2] == field]
    return max(same_field, key=lambda error: len(error["loc"]))


def _param_of(location: tuple[Any, ...], kind: str) -> str | None:
    """Return the name of the invalid field, such as ``prompt`` or ``messages.0.content``.

    Args:
        location: the location that pydantic reports, with names of types between field names.
        kind: pydantic's type of error; ``extra_forbidden`` means that the last part is an unknown
            field.
    """
    parts = [part for part in location if isinstance(part, int) or part in FIELDS]
    if kind == "extra_forbidden" and location and location[-1] not in parts:
        parts.append(location[-1])
    while parts and isinstance(parts[-1], int) and parts[0] == "prompt":
        parts.pop()  # the index of a prompt or token is not part of the name
    return ".".join(str(part) for part in parts) or None


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
