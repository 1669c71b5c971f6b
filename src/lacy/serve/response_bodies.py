"""Request bodies of ``POST /v1/responses``, and their conversion to chat messages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lacy.serve.bodies import Body
from lacy.serve.bounds import Each, Messages, Parts, Strict
from lacy.serve.fields import NOTHING, asking, declare
from lacy.serve.messages import Called, Message, Part, ToolCall, speakable

LOGPROBS = "message.output_text.logprobs"


class InputPart(Part):
    """A part of a message; only text is supported."""

    type: Literal["input_text", "output_text", "text", "refusal"]  # type: ignore[assignment]
    annotations: Any = None
    logprobs: Any = None
    prompt_cache_breakpoint: Any = None


def _words(content: str | list[InputPart] | None) -> str:
    if isinstance(content, list):
        return "".join(part.words or "" for part in content)
    return content or ""


class Item(Strict):
    """An item of a conversation: a message, a tool call, or the output of a tool."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | Parts[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | Parts[InputPart] | None = None
    id: Any = None
    status: Any = None
    phase: Any = None
    summary: Any = None
    encrypted_content: Any = None
    lacy: Any = None

    @field_validator("content", "call_id", "name", "arguments", "output")
    @classmethod
    def _speakable(cls, value: Any) -> Any:
        return speakable(value)

    @model_validator(mode="after")
    def _whole(self) -> Item:
        needed = {
            "message": ("role", "content"),
            "function_call": ("name", "call_id"),
            "function_call_output": ("call_id", "output"),
        }.get(self.type, ())
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing")
        return self

    def message(self) -> Message | None:
        """The item as a chat message; None for reasoning items, which are ignored."""
        if self.type == "reasoning":
            return None
        if self.type == "function_call":
            called = Called(name=self.name or "", arguments=self.arguments)
            call = ToolCall(id=self.call_id, function=called)
            return Message(role="assistant", tool_calls=[call])
        if self.type == "function_call_output":
            return Message(role="tool", content=_words(self.output), tool_call_id=self.call_id)
        return Message(role=self.role or "user", content=_words(self.content))


class TextFormat(Strict):
    """The field ``text``: the format of the answer."""

    format: dict[str, Any] | None = None
    verbosity: Any = None


RESPONSE_NOTHING: dict[str, tuple[Any, ...]] = NOTHING | {
    "previous_response_id": (None,),
    "conversation": (None,),
    "prompt": (None,),
    "background": (None, False),
    "truncation": (None, "disabled"),
    "max_tool_calls": (None,),
    "context_management": (None, []),
    "moderation": (None,),
    "n": (None, 1),
}
"""Unsupported fields of ``/v1/responses``, with the values that have no effect."""


class ResponseBody(declare("OfResponse", Body, chat=True)):  # type: ignore[misc]
    """``POST /v1/responses``."""

    asks = "input"
    input: str | Messages[Item]
    """The user's text, or a conversation."""
    instructions: str | None = None
    """A system message before the input."""
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextFormat | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: Each[str] | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: Any = None
    truncation: Any = None
    max_tool_calls: Any = None
    context_management: Any = None
    moderation: Any = None

    @field_validator("instructions", "input")
    @classmethod
    def _words_only(cls, value: Any) -> Any:
        return speakable(value)

    def refused(self) -> str | None:
        """The first unsupported field that would have an effect."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        told = self.text.format if self.text else None
        if told is not None and told != {"type": "text"}:
            return "text.format"
        return asking(given, RESPONSE_NOTHING)

    def messages(self) -> list[Message]:
        """The conversation as chat messages."""
        begin = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*begin, Message(role="user", content=self.input)]
        said = [item.message() for item in self.input]
        return begin + [message for message in said if message is not None]

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer."""
        return self.max_output_tokens or self.max_tokens

    @property
    def scored(self) -> int | None:
        """Number of likeliest tokens to return at each position; None: no logprobs at all."""
        wanted = bool(self.top_logprobs) or LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if wanted else None
