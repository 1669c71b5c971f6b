"""What clients send: OpenAI's fields, and ``lacy`` beside them.

Fields that change the text and that lacy does not know how to honour are refused where they ask
for something; fields that only describe the request are ignored; others are mistakes.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from lacy.serve.bounds import Each, Messages, Prompts, Several, Strict
from lacy.serve.fields import asking, declare
from lacy.serve.messages import Message, speakable


class Wishes(Strict):
    """``lacy``: how the cascade is to run."""

    policy: Annotated[str, Field(max_length=200)] | None = None
    """When to call, e.g. ``budget=0.1``; comes before the one in the model's name."""
    unit: Literal["token", "word", "value"] | None = None
    subject: Annotated[str, Field(max_length=500)] | None = None
    """Whom or what the text is about, where the caller knows."""


class StreamOptions(BaseModel):
    """``stream_options`` of OpenAI."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Body(declare("Common", Strict, chat=None)):  # type: ignore[misc]
    """What both kinds of request have in common."""

    asks: ClassVar[str] = "prompt"
    """The parameter with what the model is to continue."""
    model: str = Field(max_length=500)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: str | Each[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    """Continue after end tokens until ``max_tokens``."""
    min_tokens: int | None = Field(None, ge=0)
    """Fewest tokens of the answer."""
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
        """Fewest tokens of the answer, given that ``limit`` is the most."""
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
Tokens = Several[Token]


class CompletionBody(declare("OfCompletion", Body, chat=False)):  # type: ignore[misc]
    """``POST /v1/completions``."""

    prompt: str | Prompts[str] | Tokens | Prompts[Tokens]
    """Texts, or tokens of the model."""
    max_tokens: int | None = Field(None, ge=0)
    """With 0 nothing is generated; with ``echo`` the prompt is scored."""
    echo: bool | None = None
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        given = self.prompt
        return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None: no logprobs at all."""
        return self.logprobs

    @property
    def echoed(self) -> bool:
        """Whether the answer begins with the prompt."""
        return bool(self.echo)


class ChatBody(declare("OfChat", Body, chat=True)):  # type: ignore[misc]
    """``POST /v1/chat/completions``."""

    asks = "messages"
    messages: Messages[Message]
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None: no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None
