"""Adapt requests to what each server accepts, and read answers and errors of all servers.

Servers accept different parameters: newer OpenAI models require ``max_completion_tokens`` and
reject ``temperature``; others do not support ``stop``, ``seed`` or system messages.
``AcceptedParameters`` learns this from the first error and adapts all later requests.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from lacy.remote.errors import OutOfTokens, redact

T = TypeVar("T")

REASONING_TOKENS = 2_000
"""Additional tokens for a reasoning model, because its limit includes the reasoning tokens."""

_REQUIRED = frozenset({"model", "prompt", "messages", "input"})
_LIMIT, _NEW_LIMIT = "max_tokens", "max_completion_tokens"
LIMIT_PARAMETERS = (_LIMIT, _NEW_LIMIT, "max_output_tokens", "num_predict")
"""Names of the token limit in different APIs."""

_REJECTS = re.compile(
    r"unsupported|not\s+(?:\w+\s+)?(?:support|accept|permit|allow|recogni|available|enabled"
    r"|implement|valid|compatible)"
    r"|n['’]t\s+(?:support|accept|allow|recogni)|only\s+(?:the\s+default|\w+ ?= ?1)"
    r"|unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:inputs?|fields?|forbidden)|deprecated"
    r"|additional properties|cannot (?:be|both)|can['’]t be|must be|has to be|should be|invalid"
    r"|no such|removed|no longer|disabled|forbidden|\binstead\b|cannot find field"
    r"|not verified|be verified",
    re.IGNORECASE,
)
_OTHER_PROBLEM = re.compile(
    r"too (?:large|long|many)|maximum context|context[_ ]length|context window|at most|exceed"
    r"|rate limit|quota|content management|filtered",
    re.IGNORECASE,
)
"""Errors about requests that are too large or were filtered; adapting parameters does not help."""

_ACCEPTED_LIST = re.compile(
    r"expected one of|did you mean|\b(?<!not )(?:supported|allowed|valid|available|permitted"
    r"|accepted|known) (?:parameters|fields|arguments|options|keys|params|properties)\b"
    r"|to drop these",
    re.IGNORECASE,
)
"""In an error, a list of accepted parameters follows this; they were not rejected."""

_BODY_FIELD = re.compile(r"['\"]loc['\"]: ?[\[(]['\"]body['\"], ?['\"](\w+)['\"]")
_POSITIVE = re.compile(r"positive|greater than (?:0|zero)|> ?0\b|larger than 0", re.IGNORECASE)
_SYSTEM = re.compile(
    r"system role|system (?:message|prompt|instruction)s?|role[^.]{0,40}\bsystem\b|'system'"
    r"|\"system\"|role:system|developer instruction|only user and assistant|roles must alternate"
    r"|messages\[?\.?\d*\]?\.role",
    re.IGNORECASE,
)

_STOP_REASONS = frozenset(
    "stop eos eos_token end_turn stop_sequence stop_token end complete completed done finish"
    " finished success normal".split()
)
_LENGTH_REASONS = frozenset(
    "length max_tokens max_output_tokens max_completion_tokens max_length model_length token_limit"
    " model_context_window_exceeded incomplete".split()
)
REASONING_TAG = (
    r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis)"
)
_REASONING = re.compile(
    rf"\s*(?:<({REASONING_TAG})(?:\s[^<>]*)?>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)"
    r"|◁think▷.*?(?:◁/think▷|\Z)|<\|begin_of_thought\|>.*?(?:<\|end_of_thought\|>|\Z)"
    r"|<\|channel\|>(?:analysis|commentary).*?(?:<\|channel\|>final<\|message\|>|\Z)"
    r"|</[a-z:]{5,12}>)",
    re.DOTALL | re.IGNORECASE,
)
_NO_REASON = frozenset({"", "null", "none", "not_finished", "finish_reason_unspecified"})


class AcceptedParameters:
    """The parameters that one model on one server accepts, learned from its errors.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self.omitted: set[str] = set()
        """Parameters to omit."""
        self.replaced: dict[str, Any] = {}
        """Parameters to send with another value than the caller's."""
        self.system_role = True
        """True if messages may have the role ``system``."""
        self.extra_tokens = 0
        """Number of tokens to add to the limit for reasoning."""

    def adapt(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of a request, adapted to the server."""
        adapted = {key: value for key, value in body.items() if key not in self.omitted}
        if _LIMIT in body and _LIMIT in self.omitted and _NEW_LIMIT not in self.omitted:
            adapted.setdefault(_NEW_LIMIT, body[_LIMIT])
        if _NEW_LIMIT in adapted:
            adapted.pop(_LIMIT, None)  # servers reject both together
        adapted |= {key: value for key, value in self.replaced.items() if key in adapted}
        if not adapted.get("stream"):
            adapted.pop("stream_options", None)
        for limit in LIMIT_PARAMETERS:
            if self.extra_tokens and isinstance(adapted.get(limit), int):
                adapted[limit] += self.extra_tokens
        if not self.system_role and isinstance(adapted.get("messages"), list):
            adapted["messages"] = _without_system(adapted["messages"])
        return adapted

    def learn(self, sent: Mapping[str, Any], status: int, answer: Any) -> bool:
        """Learn from the error response to a request.

        Args:
            sent: the request as it was sent.
            status: the status code of the response.
            answer: the parsed JSON of the response, or its text.

        Returns:
            True if the error names parameters that ``adapt`` now handles. Compare the adapted
            request with the sent one before retrying, because a concurrent request may have learned
            the same.
        """
        if not 400 <= status < 600 or status in (401, 403, 408, 429):
            return False
        message, param = _error_fields(answer)
        if _OTHER_PROBLEM.search(message):
            return False
        if _rejects_system(sent, message, param):
            self.system_role = False
            return True
        # Among server errors, only a chat template's complaint about roles is informative.
        if status >= 500 or not (param or _REJECTS.search(message)):
            return False
        rejected = list(_rejected(sent, message, param))
        for key in rejected:
            self._omit(key, message)
        return bool(rejected)

    async def with_reasoning(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await ``ask()``; if the model was still reasoning, repeat it with a higher token limit.

        The higher limit also applies to later requests.

        Raises:
            OutOfTokens: the higher limit was not enough either.
        """
        extra_tokens = self.extra_tokens  # a concurrent request may raise it in the meantime
        try:
            return await ask()
        except OutOfTokens:
            if extra_tokens:
                raise
            self.extra_tokens = REASONING_TOKENS
        return await ask()

    def _omit(self, key: str, message: str) -> None:
        if key == "temperature" and _POSITIVE.search(message) and key not in self.replaced:
            self.replaced[key] = 0.01  # small enough to still choose the most likely tokens
        elif key == "stream":
            self.replaced[key] = False
        else:
            self.omitted.add(key)

    @property
    def note(self) -> str:
        """Return a note for the evidence if a rejected parameter may change the answer, else ""."""
        return (
            "asked without temperature, which it rejects" if "temperature" in self.omitted else ""
        )


def finish_reason(reason: Any) -> str | None:
    """Normalize a finish reason: "stop" if the model ended, "length" at the token limit.

    Any other word is returned unchanged. Returns None if the answer continues; some servers send ""
    or "null" in that case.
    """
    if not isinstance(reason, str) or reason.strip().lower() in _NO_REASON:
        return None
    reason = reason.strip()
    if reason.lower() in _STOP_REASONS:
        return "stop"
    return "length" if reason.lower() in _LENGTH_REASONS else reason


def content_text(content: Any) -> str | None:
    """Return the text of a message's content, which is a string or a list of parts.

    Parts with reasoning, images or tool calls are ignored. Returns None for any other type.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            texts.append(text if isinstance(text, str) else "")
    return "".join(texts)


def without_reasoning(answer: str) -> str:
    """Return the answer after the tagged reasoning, or "" if the reasoning has not ended."""
    end = 0
    while (match := _REASONING.match(answer, end)) and match.end() > end:
        end = match.end()
    return answer[end:]


def error_message(answer: Any, key: str = "") -> str:
    """Return the message of an error response in any of several formats, or ""."""
    message, _ = _error_fields(answer)
    return redact(message, key)


def _error_fields(answer: Any) -> tuple[str, str]:
    """Return an error's message, and the parameter in its separate field (or "")."""
    if isinstance(answer, str):
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(answer)
    if isinstance(answer, str):
        return answer, ""
    if isinstance(answer, list) and answer:  # Gemini wraps the error in a list
        answer = answer[0]
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error") or answer.get("detail") or answer.get("message") or ""
    if isinstance(error, dict) and "detail" in error and "message" not in error:
        error = error["detail"]
    if isinstance(error, list):
        return _validation_errors(error)
    if not isinstance(error, dict):
        return (error if isinstance(error, str) else ""), _param(answer)
    more, param = error.get("message", ""), _param(error)
    if isinstance(more, dict) and isinstance(more.get("detail"), list):  # Mistral's
        return _validation_errors(more["detail"])
    return (more if isinstance(more, str) else ""), param


def _param(error: Mapping[str, Any]) -> str:
    """Return the parameter named by an error, or ""; LiteLLM writes "None" if there is none."""
    param = str(error.get("param") or "")
    return "" if param.lower() in ("none", "null") else param


def _validation_errors(problems: list[Any]) -> tuple[str, str]:
    """Return message and parameter of errors in FastAPI's format."""
    errors = [p for p in problems if isinstance(p, dict)]
    places = [p["loc"] for p in errors if isinstance(p.get("loc"), list)]
    fields = [str(place[1]) for place in places if len(place) > 1 and place[0] == "body"]
    message = "; ".join(
        f"{'.'.join(map(str, p.get('loc') or []))}: {p.get('msg', '')}" for p in errors
    )
    return message, ",".join(fields)


def _rejects_system(sent: Mapping[str, Any], message: str, param: str) -> bool:
    messages = sent.get("messages")
    has_system = isinstance(messages, list) and any(
        isinstance(one, dict) and one.get("role") == "system" for one in messages
    )
    return has_system and bool(_SYSTEM.search(param) or _SYSTEM.search(message))


def _rejected(sent: Mapping[str, Any], message: str, param: str) -> Iterator[str]:
    """Yield the parameters of a request that an error refers to."""
    optional = [key for key in sent if key not in _REQUIRED]
    param = param.removeprefix("body.")
    fields = [key for key in optional if key in re.split(r"[,.\[\s]", param)]
    fields = fields or [key for key in optional if key in _BODY_FIELD.findall(message)]
    if not fields and not param and not _BODY_FIELD.search(message):
        about = message[: match.start()] if (match := _ACCEPTED_LIST.search(message)) else message
        fields = [key for key in optional if re.search(rf"\b{re.escape(key)}\b", about)]
        if not fields and "stream" in sent and re.search(r"\bstreaming\b", about):
            fields = ["stream"]
    if "cannot both" in message:
        fields = fields[:1]
    yield from fields


def _without_system(messages: list[Any]) -> list[Any]:
    """Move the text of system messages into the first user message."""
    system = [one["content"] for one in messages if one.get("role") == "system"]
    rest = [dict(one) for one in messages if one.get("role") != "system"]
    if system and rest and isinstance(rest[0].get("content"), str):
        rest[0]["content"] = "\n\n".join([*map(str, system), rest[0]["content"]])
    return rest
