"""Returns all errors of the application in OpenAI's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from lacy.serve.bodies import ChatBody, CompletionBody, StreamOptions, Wishes
from lacy.serve.failures import ApiError, as_api_error
from lacy.serve.messages import Called, Message, Part, ToolCall
from lacy.serve.response_bodies import InputPart, Item, ResponseBody, TextFormat

MODELS = (
    CompletionBody, ChatBody, ResponseBody, StreamOptions, Wishes, Message, Part, ToolCall, Called,
    Item, InputPart, TextFormat,
)  # fmt: skip
FIELDS = frozenset(name for model in MODELS for name in model.model_fields)


def param_of(place: tuple[Any, ...], found: Any = None) -> str | None:
    """The name of the invalid parameter for clients: ``prompt``, ``messages.0.content``.

    Args:
        place: location of the error; pydantic puts the types that it tried between the names.
        found: the error's text about the last part, if that is an unknown field.
    """
    parts = [part for part in place if isinstance(part, int) or part in FIELDS]
    if found == "extra_forbidden" and place and place[-1] not in parts:
        parts.append(place[-1])
    while parts and isinstance(parts[-1], int) and parts[0] == "prompt":
        parts.pop()  # drop the index of a prompt or token: the parameter is the same
    return ".".join(str(part) for part in parts) or None


def add_handlers(app: FastAPI) -> None:
    """Make an application return errors in OpenAI's format."""

    @app.exception_handler(ApiError)
    async def api(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def body(request: Request, error: RequestValidationError) -> Response:
        first = _most_telling(error.errors())
        if first["type"] == "json_invalid":
            why = f"the body is no JSON at character {first['loc'][-1]}"
            return ApiError(400, why, "invalid_body").response()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            why = f"the body's Content-Type is {kind!r}" if kind else "the body has no Content-Type"
            why += "; send it with the header Content-Type: application/json"
            return ApiError(400, why, "invalid_body").response()
        param = param_of(first["loc"][1:], first["type"])
        return ApiError(400, f"{param or 'body'}: {first['msg']}", "invalid_body", param).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 408: "too_slow",
                413: "body_too_large", 499: "client_left"}  # fmt: skip
        word, why = code.get(error.status_code, "http_error"), str(error.detail)
        origin = request.headers.get("origin")
        if error.status_code == 405 and request.method == "OPTIONS" and origin:
            why += f"; to allow this page, start the server with --origin {origin[:200]}"
        response = ApiError(error.status_code, why, word).response()
        response.headers.update(error.headers or {})  # 405 lists the allowed methods
        return response

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return as_api_error(error).response()


def _most_telling(errors: Sequence[Any]) -> Any:
    """The first error; for a union, the error of the member that fits best."""
    field = errors[0]["loc"][:2]
    same = [error for error in errors if error["loc"][:2] == field]
    return max(same, key=lambda error: len(error["loc"]))
