"""What clients send: OpenAI's fields, and ``lacy`` beside them.

Fields that change the text and that lacy does not know how to honour are refused where they ask
for something; fields that only describe the request are ignored; others are mistakes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lacy.serve.fields import asking, declare

Strict = ConfigDict(extra="forbid", allow_inf_nan=False)


def speakable(value: Any) -> Any:
    """Texts, or parts with a text; JSON can hold halves of characters, which no encoding allows.

    Raises:
        ValueError: there is one.
    """
    for part in value if isinstance(value, list) else [value]:
        text = getattr(part, "text", part)
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError:
            raise ValueError("half a character (a lone surrogate) is no text") from None
    return value


class Wishes(BaseModel):
    """``lacy``: how the cascade is to run."""

    model_config = Strict

    policy: Annotated[str, Field(max_length=200)] | None = None
    """When to call, e.g. ``budget=0.1``; comes before the one in the model's name."""
    unit: Literal["token", "word", "value"] | None = None
    subject: Annotated[str, Field(max_length=500)] | None = None
    """Whom or what the text is about, where the caller knows."""


class StreamOptions(BaseModel):
    """``stream_options`` of OpenAI."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Open(BaseModel):
    """A request whose unknown fields are mistakes."""

    model_config = Strict


class Body(declare("Common", Open, chat=None)):  # type: ignore[misc]
    """What both kinds of request have in common."""

    model: str = Field(max_length=500)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    """Write until ``max_tokens``, whatever the model would end with."""
    min_tokens: int | None = Field(None, ge=0)
    """Tokens before which the text does not end."""
    lacy: Wishes = Wishes()

    @field_validator("lacy", mode="before")
    @classmethod
    def _wishes(cls, value: Any) -> Any:
        return Wishes() if value is None else value  # null asks for nothing, as elsewhere

    @field_validator("prompt", "stop", check_fields=False)
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    def refused(self) -> str | None:
        """The first field that asks for what lacy cannot do."""
        return asking({name: getattr(self, name) for name in self.model_fields_set})

    def least(self, limit: int) -> int:
        """Tokens before which the text does not end; ``limit`` is its most."""
        return limit if self.ignore_eos else self.min_tokens or 0

    @property
    def stops(self) -> list[str]:
        """Stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None: no logprobs at all."""
        return None

    @property
    def echoed(self) -> bool:
        """Whether the answer begins with the prompt."""
        return False

    @property
    def usage_wanted(self) -> bool:
        """Whether the last chunk of a stream is to count tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


Token = Annotated[int, Field(strict=True, ge=0)]
T = TypeVar("T")
Several = Annotated[list[T], Field(min_length=1)]
Tokens = Several[Token]


class CompletionBody(declare("OfCompletion", Body, chat=False)):  # type: ignore[misc]
    """``POST /v1/completions``."""

    prompt: str | Several[str] | Tokens | Several[Tokens]
    """Texts, or tokens of the model."""
    max_tokens: int | None = Field(None, ge=0)
    """0: nothing is written; with ``echo`` the prompt is measured."""
    echo: bool | None = None
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None: no logprobs at all."""
        return self.logprobs

    @property
    def echoed(self) -> bool:
        """Whether the answer begins with the prompt."""
        return bool(self.echo)


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
        try:
            made = json.loads(self.arguments or "{}")
            json.dumps(made, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            made = None
        arguments = made if isinstance(made, dict) else self.arguments
        return {"name": self.name, "arguments": arguments}


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


class Part(BaseModel):
    """A part of a message; text alone is understood."""

    model_config = Strict

    type: Literal["text"]
    text: str
    cache_control: Any = None


class Message(BaseModel):
    """A message of a chat.

    Texts of the caller are checked, calls of tools included; what is left is passed on.
    """

    model_config = Strict

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[ToolCall] | None = None
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
        return "".join(part.text for part in self.content or ())

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


class ChatBody(declare("OfChat", Body, chat=True)):  # type: ignore[misc]
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None: no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None
