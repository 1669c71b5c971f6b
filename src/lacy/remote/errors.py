"""Exceptions for models and servers; their messages never contain an API key."""

from __future__ import annotations

BASE_URL_HINT = "the base address usually ends in /v1"

_MIN_SECRET_CHARS = 8
"""Shorter keys are not treated as secret: people give local servers keys such as ``x``."""

_MAX_MESSAGE_CHARS = 200


class RemoteError(Exception):
    """Raised when a model or its server gives no usable answer.

    Attributes:
        why: what happened, for the user.
        hint: what the user can do about it, or "".
        status: the HTTP status code; 0 if there was none.
        retryable: True if the same request may succeed later.
        retry_after: seconds to wait before the next attempt, as requested by the server.
    """

    def __init__(
        self,
        why: str,
        status: int = 0,
        *,
        hint: str = "",
        retryable: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(why)
        self.why, self.status, self.hint = why, status, hint
        self.retryable, self.retry_after = retryable, retry_after

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why


class OutOfTokens(RemoteError):
    """Raised when a reasoning model reached its token limit before it began to answer."""

    def __init__(self) -> None:
        super().__init__("it was still reasoning when its answer reached the token limit")


def redact(text: str, key: str = "") -> str:
    """Return the text as one short printable line with the API key removed."""
    if len(key) >= _MIN_SECRET_CHARS:
        text = text.replace(key, "(the key)")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:_MAX_MESSAGE_CHARS] + ("..." if len(text) > _MAX_MESSAGE_CHARS else "")
