"""Errors as OpenAI's clients know them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi.responses import JSONResponse

from lacy.errors import LacyError
from lacy.serve.places import Busy
from lacy.serve.scheduler import Closing

LOG = logging.getLogger("lacy.serve")


MESSAGE, PARAM = 2000, 200
"""Most characters of a message and of a field name; both may quote the request."""


class ApiError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: a sentence for the caller.
        code: a word for programs.
        param: the field at fault.
        retry: seconds after which it may be tried again.
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
        """What is sent."""
        kinds = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        param = None if self.param is None else _short(self.param, PARAM)
        message = _short(str(self), MESSAGE)
        error = {"message": message, "type": kind, "param": param, "code": self.code}
        return {"error": error}

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the request may be retried; at least 1."""
        return max(1, math.ceil(self.retry or 0))

    def response(self) -> JSONResponse:
        """As a response with its headers."""
        headers = {} if self.retry is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body, self.status, headers)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def as_api_error(error: BaseException, param: str | None = None) -> ApiError:
    """What a caller is told of any failure; of a bug, nothing but that it is one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        message = "the server is at capacity: no more texts can run or wait"
        return ApiError(429, message, "busy", retry=error.seconds)
    if isinstance(error, Closing):
        return ApiError(503, "the server is shutting down", "shutting_down", retry=5)
    if isinstance(error, LacyError):
        if error.code == "E93":  # the model is at a server of others, which is gone
            return ApiError(502, f"{error.what}; {error.do}", error.code)
        code = "context_length_exceeded" if error.code == "E60" else error.code
        return ApiError(400, f"{error.what}; {error.do}", code, param)
    if not hasattr(error, "logged"):  # one that ends several texts is shown once
        LOG.error("a request failed", exc_info=error)
        error.logged = True  # type: ignore[attr-defined]
    return ApiError(500, "a bug in lacy, which its log shows", "internal_error")
