"""Chat messages in requests, and types whose validation takes linear time.

By default, pydantic collects every error and tries each member of a union: a body of 0.7 MB with
350,000 invalid elements blocked the server for seconds. So validation of the lists defined here
stops at the first invalid element, and objects report only their first unknown field.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")

MAX_MESSAGES = 4096
"""Maximum number of messages in a chat. Each takes several tokens, so more would not fit anyway."""

MAX_PARTS = 1024
"""Maximum number of parts in a message."""

MAX_PROMPTS = 2048
"""Maximum number of prompts in a request, whatever ``Limits.prompts`` is (OpenAI's limit)."""

MAX_DEPTH = 64
"""Arguments of a tool call that are nested deeper than this are passed on as text."""

FastList = Annotated[list[T], Field(fail_fast=True)]
"""A list whose validation stops at the first error."""

NonEmptyList = Annotated[list[T], Field(min_length=1, fail_fast=True)]
PromptList = Annotated[list[T], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
PartList = Annotated[list[T], Field(max_length=MAX_PARTS, fail_fast=True)]
MessageList = Annotated[list[T], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


def _check_encodable(value: Any) -> Any:
    """Check a text or a list of texts for lone surrogates, which JSON allows but UTF-8 does not.

    Raises:
        ValueError: a text contains a lone surrogate.
    """
    for text in value if isinstance(value, list) else [value]:
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError:
            raise ValueError("the text contains a lone surrogate (half a character)") from None
    return value


ENCODABLE = AfterValidator(_check_encodable)
"""Validates that the text of a field can be encoded as UTF-8."""

Text = Annotated[str, ENCODABLE]
OptionalText = Annotated[str | None, ENCODABLE]


class Strict(BaseModel):
    """An object that allows no unknown fields, and reports only the first one."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_unknown(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        unknown = [name for name in value if name not in cls.model_fields]
        left_out = set(unknown[1:])
        return {name: value[name] for name in value if name not in left_out}


class ToolFunction(BaseModel):
    """Name and arguments of a tool call in an earlier answer."""

    model_config = ConfigDict(extra="ignore")

    name: Text
    arguments: OptionalText = None

    def as_dict(self) -> dict[str, Any]:
        """Return name and arguments; arguments that are a JSON object are parsed."""
        text = self.arguments or "{}"
        parsed = None
        if _depth(text) <= MAX_DEPTH:
            try:
                parsed = json.loads(text)
                json.dumps(parsed, ensure_ascii=False).encode()
            except ValueError:  # not JSON, or a lone surrogate in it
                parsed = None
        return {"name": self.name, "arguments": parsed if isinstance(parsed, dict) else text}


class ToolCall(BaseModel):
    """One of an assistant's ``tool_calls``."""

    model_config = ConfigDict(extra="ignore")

    id: OptionalText = None
    type: Literal["function"] = "function"
    function: ToolFunction

    def as_dict(self) -> dict[str, Any]:
        """Return the tool call as chat templates expect it."""
        return {"id": self.id or "", "type": self.type, "function": self.function.as_dict()}


class Part(Strict):
    """A part of a message: a text, or the refusal of an earlier answer."""

    type: Literal["text", "refusal"]
    text: OptionalText = None
    refusal: OptionalText = None
    cache_control: Any = None

    @model_validator(mode="after")
    def _has_content(self) -> Part:
        if self.content is None:
            raise ValueError(f"{self.type} is missing")
        return self

    @property
    def content(self) -> str | None:
        """The text of the part."""
        return self.refusal if self.type == "refusal" else self.text


class Message(Strict):
    """A message of a chat. The fields that only earlier answers have are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | PartList[Part] | None, ENCODABLE] = None
    name: OptionalText = None
    tool_call_id: OptionalText = None
    tool_calls: FastList[ToolCall] | None = None
    function_call: ToolFunction | None = None
    refusal: Any = None
    annotations: Any = None
    audio: None = None
    reasoning: Any = None
    reasoning_content: Any = None
    provider_specific_fields: Any = None
    parsed: Any = None
    cache_control: Any = None

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.content or "" for part in self.content or ())

    def as_dict(self) -> dict[str, Any]:
        """Return the message as chat templates expect it: parts joined, tool arguments parsed."""
        role = "tool" if self.role == "function" else self.role
        message: dict[str, Any] = {"role": role, "content": self.text}
        message |= {"name": self.name} if self.name else {}
        message |= {"tool_call_id": self.tool_call_id} if self.tool_call_id else {}
        calls = [call.as_dict() for call in self.tool_calls or ()]
        if self.function_call is not None:
            calls.append({"type": "function", "function": self.function_call.as_dict()})
        return message | ({"tool_calls": calls} if calls else {})


def _depth(text: str) -> int:
    """Return the maximum nesting depth of brackets in a text (in JSON strings too)."""
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, depth)
    return deepest
