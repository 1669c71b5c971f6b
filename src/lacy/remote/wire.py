"""OpenAI's protocol across servers: adapting requests to rejected parameters, parsing answers.

Servers accept different parameters: newer OpenAI models require ``max_completion_tokens`` and allow
no ``temperature``; others support no ``stop``, no ``seed`` or no system messages. ``Accepted``
learns this from the first error, and adapts all later requests.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

SHORTEST_SECRET = 8
"""Fewest characters of a secret key; for local servers, keys such as ``x`` are common."""

THOUGHT_TOKENS = 2_000
"""Additional tokens for a reasoning model, whose limit includes its reasoning tokens."""

_NEEDED = frozenset({"model", "prompt", "messages", "input"})
_LIMIT, _NEW_LIMIT = "max_tokens", "max_completion_tokens"
LIMITS = (_LIMIT, _NEW_LIMIT, "max_output_tokens", "num_predict")
"""Names of the token limit in different APIs."""

_REFUSES = re.compile(
    r"unsupported|not\s+(?:\w+\s+)?(?:support|accept|permit|allow|recogni|available|enabled"
    r"|implement|valid|compatible)"
    r"|n['’]t\s+(?:support|accept|allow|recogni)|only\s+(?:the\s+default|\w+ ?= ?1)"
    r"|unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:inputs?|fields?|forbidden)|deprecated"
    r"|additional properties|cannot (?:be|both)|can['’]t be|must be|has to be|should be|invalid"
    r"|no such|removed|no longer|disabled|forbidden|\binstead\b|cannot find field"
    r"|not verified|be verified",
    re.IGNORECASE,
)
_NO_REFUSAL = re.compile(
    r"too (?:large|long|many)|maximum context|context[_ ]length|context window|at most|exceed"
    r"|rate limit|quota|content management|filtered",
    re.IGNORECASE,
)
"""Errors about a request that is too large or was filtered; other parameters do not help."""

_TAKEN_INSTEAD = re.compile(
    r"expected one of|did you mean|\b(?<!not )(?:supported|allowed|valid|available|permitted"
    r"|accepted|known) (?:parameters|fields|arguments|options|keys|params|properties)\b"
    r"|to drop these",
    re.IGNORECASE,
)
"""After this, an error lists what the server does accept."""

_PLACE = re.compile(r"['\"]loc['\"]: ?[\[(]['\"]body['\"], ?['\"](\w+)['\"]")
_POSITIVE = re.compile(r"positive|greater than (?:0|zero)|> ?0\b|larger than 0", re.IGNORECASE)
_SYSTEM = re.compile(
    r"system role|system (?:message|prompt|instruction)s?|role[^.]{0,40}\bsystem\b|'system'"
    r"|\"system\"|role:system|developer instruction|only user and assistant|roles must alternate"
    r"|messages\[?\.?\d*\]?\.role",
    re.IGNORECASE,
)

_BY_ITSELF = frozenset(
    "stop eos eos_token end_turn stop_sequence stop_token end complete completed done finish"
    " finished success normal".split()
)
_BY_LIMIT = frozenset(
    "length max_tokens max_output_tokens max_completion_tokens max_length model_length token_limit"
    " model_context_window_exceeded incomplete".split()
)
THOUGHT_TAG = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis)"
_THOUGHT = re.compile(
    rf"\s*(?:<({THOUGHT_TAG})(?:\s[^<>]*)?>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)"
    r"|◁think▷.*?(?:◁/think▷|\Z)|<\|begin_of_thought\|>.*?(?:<\|end_of_thought\|>|\Z)"
    r"|<\|channel\|>(?:analysis|commentary).*?(?:<\|channel\|>final<\|message\|>|\Z)"
    r"|</[a-z:]{5,12}>)",
    re.DOTALL | re.IGNORECASE,
)
_NONE = frozenset({"", "null", "none", "not_finished", "finish_reason_unspecified"})


class Accepted:
    """The parameters that one model on one server accepts, learned from its errors.

    Thread-safe.
    """

    def __init__(self) -> None:
        self.without: set[str] = set()
        """Parameters that are left out."""
        self.instead: dict[str, Any] = {}
        """Parameters that are sent with another value than requested."""
        self.system = True
        """Whether messages may have the role ``system``."""
        self.room = 0
        """Tokens added to the limit for reasoning."""

    def shaped(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The adapted copy of a request; the request itself is not changed."""
        made = {key: value for key, value in body.items() if key not in self.without}
        if _LIMIT in body and _LIMIT in self.without and _NEW_LIMIT not in self.without:
            made.setdefault(_NEW_LIMIT, body[_LIMIT])
        if _NEW_LIMIT in made:
            made.pop(_LIMIT, None)  # servers reject both together
        made |= {key: value for key, value in self.instead.items() if key in made}
        if made.get("stream") is False or "stream" not in made:
            made.pop("stream_options", None)
        for limit in LIMITS:
            if self.room and isinstance(made.get(limit), int):
                made[limit] += self.room
        if not self.system and isinstance(made.get("messages"), list):
            made["messages"] = _without_system(made["messages"])
        return made

    def learn(self, sent: Mapping[str, Any], status: int, answer: Any) -> bool:
        """Learns from the error response to a request.

        Args:
            sent: the request as it was sent.
            status: the status code of the response.
            answer: its JSON, or its text.

        Returns:
            Whether the request should be adapted again and resent, because something was learned
            from this response or, meanwhile, from another one.
        """
        if not 400 <= status < 600 or status in (401, 403, 408, 429):
            return False
        message, param = _refusal(answer)
        if _NO_REFUSAL.search(message):
            return False
        if _refuses_system(sent, message, param):
            self.system = False
            return True
        # Among server errors, only a chat template's complaint about roles is informative.
        if status >= 500 or not (param or _REFUSES.search(message)):
            return False
        named = list(_named(sent, message, param))
        for key in named:
            self._leave_out(key, message)
        return bool(named)

    def _leave_out(self, key: str, message: str) -> None:
        if key == "temperature" and _POSITIVE.search(message) and key not in self.instead:
            self.instead[key] = 0.01  # still chooses the likeliest words
        elif key == "stream":
            self.instead[key] = False
        else:
            self.without.add(key)

    @property
    def note(self) -> str:
        """A note for the evidence about how the request was changed."""
        return (
            "asked without temperature, which it refuses" if "temperature" in self.without else ""
        )


def finish_of(reason: Any) -> str | None:
    """The finish reason: "stop" by itself, "length" at the limit, or else the server's own word.

    None if the answer continues; some servers send "" or "null" for that.
    """
    if not isinstance(reason, str) or reason.strip().lower() in _NONE:
        return None
    low = reason.strip().lower()
    return "stop" if low in _BY_ITSELF else "length" if low in _BY_LIMIT else reason.strip()


def text_of(content: Any) -> str | None:
    """The text of a message's content, a string or a list of parts; None if it is neither.

    Parts with reasoning, images or tool calls are ignored.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    said = []
    for part in content:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            said.append(text if isinstance(text, str) else "")
    return "".join(said)


def unthought(answer: str) -> str:
    """An answer without the tagged reasoning at its beginning; "" while the reasoning lasts."""
    end = 0
    while (thought := _THOUGHT.match(answer, end)) and thought.end() > end:
        end = thought.end()
    return answer[end:]


def told_error(answer: Any, key: str = "") -> str:
    """The message of a server's error in any of several formats; "" if there is none."""
    message, _ = _refusal(answer)
    return plain(message, key)


def plain(text: str, key: str = "") -> str:
    """Shortens a text to one printable line without the API key."""
    if len(key) >= SHORTEST_SECRET:
        text = text.replace(key, "(the key)")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:200] + ("..." if len(text) > 200 else "")


def _refusal(answer: Any) -> tuple[str, str]:
    """The message of an error, and the parameter that it names in a separate field, if any."""
    if isinstance(answer, str):
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(answer)
    if isinstance(answer, str):
        return answer, ""
    if isinstance(answer, list) and answer:  # Gemini's
        answer = answer[0]
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error") or answer.get("detail") or answer.get("message") or ""
    if isinstance(error, dict) and "detail" in error and "message" not in error:
        error = error["detail"]
    if isinstance(error, list):
        return _listed(error)
    if not isinstance(error, dict):
        return (error if isinstance(error, str) else ""), _param(answer)
    more, param = error.get("message", ""), _param(error)
    if isinstance(more, dict) and isinstance(more.get("detail"), list):  # Mistral's
        return _listed(more["detail"])
    return (more if isinstance(more, str) else ""), param


def _param(error: Mapping[str, Any]) -> str:
    """The parameter that an error is about; LiteLLM writes "None" where it is about none."""
    param = str(error.get("param") or "")
    return "" if param.lower() in ("none", "null") else param


def _listed(problems: list[Any]) -> tuple[str, str]:
    """Problems in FastAPI's format: each has a location and a message."""
    told = [p for p in problems if isinstance(p, dict)]
    places = [p["loc"] for p in told if isinstance(p.get("loc"), list)]
    fields = [str(place[1]) for place in places if len(place) > 1 and place[0] == "body"]
    message = "; ".join(
        f"{'.'.join(map(str, p.get('loc') or []))}: {p.get('msg', '')}" for p in told
    )
    return message, ",".join(fields)


def _refuses_system(sent: Mapping[str, Any], message: str, param: str) -> bool:
    messages = sent.get("messages")
    asked = isinstance(messages, list) and any(
        isinstance(one, dict) and one.get("role") == "system" for one in messages
    )
    return asked and bool(_SYSTEM.search(param) or (_SYSTEM.search(message)))


def _named(sent: Mapping[str, Any], message: str, param: str) -> Iterator[str]:
    """The parameters of a request that an error refers to."""
    optional = [key for key in sent if key not in _NEEDED]
    param = param.removeprefix("body.")
    fields = [key for key in optional if key in re.split(r"[,.\[\s]", param)]
    fields = fields or [key for key in optional if key in _PLACE.findall(message)]
    if not fields and not param and not _PLACE.search(message):
        about = message[: found.start()] if (found := _TAKEN_INSTEAD.search(message)) else message
        fields = [key for key in optional if re.search(rf"\b{re.escape(key)}\b", about)]
        if not fields and "stream" in sent and re.search(r"\bstreaming\b", about):
            fields = ["stream"]
    if "cannot both" in message:
        fields = fields[:1]
    yield from fields


def _without_system(messages: list[Any]) -> list[Any]:
    """Moves the text of system messages into the first user message."""
    told = [one["content"] for one in messages if one.get("role") == "system"]
    rest = [dict(one) for one in messages if one.get("role") != "system"]
    if told and rest and isinstance(rest[0].get("content"), str):
        rest[0]["content"] = "\n\n".join([*map(str, told), rest[0]["content"]])
    return rest
