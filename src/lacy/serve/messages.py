"""Messages of a chat as clients send them."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from lacy.serve.bounds import Each, Parts, Strict

NESTED = 64
"""Deepest nesting of a call's arguments that is passed to templates as values."""


def speakable(value: Any) -> Any:
    """A text or a list of some; JSON can hold halves of characters, which no encoding allows.

    Raises:
        ValueError: there is one.
    """
    for text in value if isinstance(value, list) else [value]:
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError:
            raise ValueError("half a character (a lone surrogate) is no text") from None
    return value


class Called(BaseModel):
    """A call of a tool in an earlier answer."""

    model_config = ConfigDict(extra="ignore")

    name: str
    arguments: str | None = None

    @field_validator("name", "arguments")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    def plain(self) -> dict[str, Any]:
        """Name and arguments, which are values where they are the JSON of an object."""
        told = self.arguments or "{}"
        made = None
        if _depth(told) <= NESTED:
            try:
                made = json.loads(told)
                json.dumps(made, ensure_ascii=False).encode()
            except ValueError:  # no JSON, or half a character in it
                made = None
        return {"name": self.name, "arguments": made if isinstance(made, dict) else told}


class ToolCall(BaseModel):
    """One of an assistant's ``tool_calls``."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called

    @field_validator("id")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    def plain(self) -> dict[str, Any]:
        """As chat templates know it."""
        return {"id": self.id or "", "type": self.type, "function": self.function.plain()}


class Part(Strict):
    """A part of a message; text alone is understood (and earlier answers that refused)."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None
    cache_control: Any = None

    @field_validator("text", "refusal")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    @model_validator(mode="after")
    def _says_something(self) -> Part:
        if self.words is None:
            raise ValueError(f"{self.type} is missing")
        return self

    @property
    def words(self) -> str | None:
        """The text of the part."""
        return self.refusal if self.type == "refusal" else self.text


class Message(Strict):
    """A message of a chat. Fields that earlier answers bring along are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Parts[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Each[ToolCall] | None = None
    function_call: Called | None = None
    refusal: Any = None
    annotations: Any = None
    audio: None = None
    reasoning: Any = None
    reasoning_content: Any = None
    provider_specific_fields: Any = None
    parsed: Any = None
    cache_control: Any = None

    @field_validator("content", "name", "tool_call_id")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """The words."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.words or "" for part in self.content or ())

    def plain(self) -> dict[str, Any]:
        """As chat templates know messages: one text, the arguments of calls as values."""
        told: dict[str, Any] = {"role": self.role, "content": self.text}
        if self.role == "function":
            told["role"] = "tool"
        told |= {"name": self.name} if self.name else {}
        told |= {"tool_call_id": self.tool_call_id} if self.tool_call_id else {}
        calls = [call.plain() for call in self.tool_calls or ()]
        if self.function_call is not None:
            calls.append({"type": "function", "function": self.function_call.plain()})
        return told | ({"tool_calls": calls} if calls else {})


def _depth(text: str) -> int:
    """How deep brackets are nested in a text, those in strings counted as well."""
    depth = most = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        most = max(most, depth)
    return most
