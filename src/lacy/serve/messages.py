"""Messages of a chat as clients send them."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from lacy.serve.bounds import Each, Parts, Strict

NESTED = 64
"""Deepest nesting of a tool call's arguments that are passed to templates as values."""


def speakable(value: Any) -> Any:
    """Checks a text or list of texts for lone surrogates: JSON allows them, but no encoding does.

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


class Called(BaseModel):
    """A tool call in an earlier answer."""

    model_config = ConfigDict(extra="ignore")

    name: str
    arguments: str | None = None

    @field_validator("name", "arguments")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    def plain(self) -> dict[str, Any]:
        """Name and arguments; arguments that are a JSON object are parsed."""
        told = self.arguments or "{}"
        made = None
        if _depth(told) <= NESTED:
            try:
                made = json.loads(told)
                json.dumps(made, ensure_ascii=False).encode()
            except ValueError:  # not JSON, or a lone surrogate in it
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
        """The format that chat templates expect."""
        return {"id": self.id or "", "type": self.type, "function": self.function.plain()}


class Part(Strict):
    """A part of a message; only text is supported (and refusals in earlier answers)."""

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
    """A message of a chat. Additional fields from earlier answers are ignored."""

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
        """The format that chat templates expect: one text, tool arguments as values."""
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
    """Nesting depth of the brackets in a text, including those in strings."""
    depth = most = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        most = max(most, depth)
    return most
