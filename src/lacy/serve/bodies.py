"""Request bodies: OpenAI's fields, and the additional field ``lacy``.

A field that lacy does not support is refused if its value would change the text. Fields that only
describe the request are ignored. Unknown fields are errors.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from lacy.serve.fields import NO_EFFECT, RESPONSE_ONLY, declare, unsupported_field
from lacy.serve.messages import (
    ENCODABLE,
    FastList,
    Message,
    MessageList,
    NonEmptyList,
    OptionalText,
    Part,
    PartList,
    PromptList,
    Strict,
    ToolCall,
    ToolFunction,
)

TEXT_LOGPROBS = "message.output_text.logprobs"
"""The value of ``include`` that asks for log-probabilities in ``/v1/responses``."""


class LacyOptions(Strict):
    """The field ``lacy``: settings of the cascade for one request."""

    policy: Annotated[str, Field(max_length=200)] | None = None
    """When the model calls, such as ``budget=0.1``; overrides the policy in the model's name."""
    unit: Literal["token", "word", "value"] | None = None
    subject: Annotated[str, Field(max_length=500)] | None = None
    """Who or what the text is about, if known."""


class StreamOptions(BaseModel):
    """OpenAI's field ``stream_options``."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class RequestBody(declare("Common", Strict, chat=None)):  # type: ignore[misc]
    """The fields that all kinds of requests have."""

    prompt_field: ClassVar[str] = "prompt"
    """Name of the field with the prompt, for error messages."""
    model: str = Field(max_length=500)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: Annotated[str | FastList[str] | None, ENCODABLE] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    """Ignore end tokens, so that the answer has ``max_tokens`` tokens."""
    min_tokens: int | None = Field(None, ge=0)
    """Minimum number of tokens of the answer."""
    lacy: LacyOptions = LacyOptions()

    @field_validator("lacy", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        return LacyOptions() if value is None else value

    def unsupported(self) -> str | None:
        """Return the name of the first field that asks for something unsupported, if any."""
        return unsupported_field({name: getattr(self, name) for name in self.model_fields_set})

    def fewest_tokens(self, limit: int) -> int:
        """Return the minimum number of tokens of an answer with at most ``limit`` tokens."""
        return limit if self.ignore_eos else self.min_tokens or 0

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to return at each position; None for no logprobs."""
        return None

    @property
    def wants_echo(self) -> bool:
        """True if the answer begins with the prompt."""
        return False

    @property
    def wants_usage(self) -> bool:
        """True if the last chunk of a stream has token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


Token = Annotated[int, Field(strict=True, ge=0)]
Tokens = NonEmptyList[Token]


class CompletionBody(declare("OfCompletion", RequestBody, chat=False)):  # type: ignore[misc]
    """``POST /v1/completions``."""

    prompt: Annotated[str | PromptList[str] | Tokens | PromptList[Tokens], ENCODABLE]
    """One or several texts, or token ids."""
    max_tokens: int | None = Field(None, ge=0)
    """With 0 and ``echo``, the prompt is scored and nothing is generated."""
    echo: bool | None = None
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        given = self.prompt
        return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to return at each position; None for no logprobs."""
        return self.logprobs

    @property
    def wants_echo(self) -> bool:
        """True if the answer begins with the prompt."""
        return bool(self.echo)


class ChatBody(declare("OfChat", RequestBody, chat=True)):  # type: ignore[misc]
    """``POST /v1/chat/completions``."""

    prompt_field = "messages"
    messages: MessageList[Message]
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to return at each position; None for no logprobs."""
        return (self.top_logprobs or 0) if self.logprobs else None


class FeedbackBody(Strict):
    """``POST /v1/feedback``: a user's verdict on a part of an answer, or on all of it."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    """The ``id`` of the response."""
    choice: Annotated[int, Field(ge=0, lt=1 << 16)] = 0
    """The ``index`` of the choice in it."""
    verdict: Literal["right", "wrong"]
    span: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    """A span, as its index in ``lacy.spans`` of the whole response."""
    start: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    """First character of a part of the choice's text; with ``end``, instead of ``span``."""
    end: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    correct: Annotated[str, Field(min_length=1, max_length=1000), ENCODABLE] | None = None
    """The right value instead of this part."""


class InputPart(Part):
    """A part of a message of ``/v1/responses``; only text is supported."""

    type: Literal["input_text", "output_text", "text", "refusal"]  # type: ignore[assignment]
    annotations: Any = None
    logprobs: Any = None
    prompt_cache_breakpoint: Any = None


InputContent = Annotated[str | PartList[InputPart] | None, ENCODABLE]


def _text_of(content: str | list[InputPart] | None) -> str:
    """Return the text of all parts of a content."""
    if isinstance(content, list):
        return "".join(part.content or "" for part in content)
    return content or ""


class Item(Strict):
    """An item of a conversation: a message, a tool call, or the output of a tool."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: InputContent = None
    call_id: OptionalText = None
    name: OptionalText = None
    arguments: OptionalText = None
    output: InputContent = None
    id: Any = None
    status: Any = None
    phase: Any = None
    summary: Any = None
    encrypted_content: Any = None
    lacy: Any = None

    @model_validator(mode="after")
    def _is_complete(self) -> Item:
        needed = {
            "message": ("role", "content"),
            "function_call": ("name", "call_id"),
            "function_call_output": ("call_id", "output"),
        }.get(self.type, ())
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing")
        return self

    def as_message(self) -> Message | None:
        """Return the item as a chat message; None for reasoning items, which are ignored."""
        if self.type == "reasoning":
            return None
        if self.type == "function_call":
            function = ToolFunction(name=self.name or "", arguments=self.arguments)
            call = ToolCall(id=self.call_id, function=function)
            return Message(role="assistant", tool_calls=[call])
        if self.type == "function_call_output":
            return Message(role="tool", content=_text_of(self.output), tool_call_id=self.call_id)
        return Message(role=self.role or "user", content=_text_of(self.content))


class TextFormat(Strict):
    """The field ``text``, which sets the format of the answer."""

    format: dict[str, Any] | None = None
    verbosity: Any = None


class ResponseBody(declare("OfResponse", RequestBody, chat=True, more=RESPONSE_ONLY)):  # type: ignore[misc]
    """``POST /v1/responses``."""

    prompt_field = "input"
    input: Annotated[str | MessageList[Item], ENCODABLE]
    """The user's text, or a conversation."""
    instructions: OptionalText = None
    """A system message to put before the input."""
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextFormat | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: FastList[str] | None = None

    def unsupported(self) -> str | None:
        """Return the name of the first field that asks for something unsupported, if any."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        form = self.text.format if self.text else None
        if form is not None and form != {"type": "text"}:
            return "text.format"
        return unsupported_field(given, NO_EFFECT | RESPONSE_ONLY | {"n": (None, 1)})

    def messages(self) -> list[Message]:
        """Return the conversation as chat messages."""
        begin = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*begin, Message(role="user", content=self.input)]
        given = [item.as_message() for item in self.input]
        return begin + [message for message in given if message is not None]

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens of the answer; None for the default."""
        return self.max_output_tokens or self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to return at each position; None for no logprobs."""
        wanted = bool(self.top_logprobs) or TEXT_LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if wanted else None
