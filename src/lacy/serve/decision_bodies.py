"""Body and response of ``POST /v1/systemone``, the API for typed decisions.

The format is that of TypeSafe's System One, which other servers of local models offer, too.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from lacy.decide import MAX_LEVELS, MAX_OPTIONS, MAX_QUESTIONS
from lacy.serve.messages import FastList, Strict

Content = str | dict[str, Any] | FastList[Any]
"""A text, or a JSON value that is read as text."""

_CONTENT = [{"type": "string"}, {"type": "object"}, {"type": "array", "items": {}}]
_OR_NULL = {"anyOf": [*_CONTENT, {"type": "null"}]}


def _question(kind: str, criteria: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of questions of one type."""
    return {
        "type": "object", "required": ["type", *required], "additionalProperties": False,
        "properties": {"type": {"const": kind}, "instructions": _OR_NULL, "criteria": criteria},
    }  # fmt: skip


QUESTION_SCHEMA: dict[str, Any] = {
    "oneOf": [
        _question("noul", {
            "type": ["object", "null"], "additionalProperties": False,
            "properties": {"true": _OR_NULL, "false": _OR_NULL},
        }),
        _question("choice", {
            "type": "object", "minProperties": 1, "maxProperties": MAX_OPTIONS,
            "additionalProperties": _OR_NULL,
        }, "criteria"),
        _question("score", {
            "type": "array", "minItems": 1, "maxItems": MAX_LEVELS, "uniqueItems": True,
            "items": {"anyOf": _CONTENT},
        }, "criteria"),
    ],
}  # fmt: skip
"""Describes a question; ``lacy.decide`` checks it, one question after another."""


class SystemOneBody(Strict):
    """``POST /v1/systemone``."""

    model: str = Field(max_length=500)
    state: Content
    """What the questions are about."""
    questions: Annotated[
        dict[str, Any],
        Field(min_length=1, max_length=MAX_QUESTIONS),
        WithJsonSchema({
            "type": "object", "minProperties": 1, "maxProperties": MAX_QUESTIONS,
            "additionalProperties": QUESTION_SCHEMA,
        }),
    ]  # fmt: skip
    """Questions by names of the client's choice."""
    assets: Any = None
    images: Any = None
    stream: bool | None = None
    keep_alive: Any = None
    """Ignored: the model stays loaded."""

    def unsupported(self) -> str | None:
        """Return the name of the first field that asks for something unsupported, if any."""
        for name in ("assets", "images", "stream"):
            if getattr(self, name):
                return name
        return None


class NoulAnswer(BaseModel):
    """The answer to a ``noul``."""

    type: Literal["noul"]
    noul: float
    """Probability of yes."""


class ChoiceAnswer(BaseModel):
    """The answer to a ``choice``."""

    type: Literal["choice"]
    choice: str
    confidence: float
    """0 if all options are equally likely, 1 if one is certain."""
    probabilities: dict[str, float]


class ScoreAnswer(BaseModel):
    """The answer to a ``score``."""

    type: Literal["score"]
    score: float
    """Mean level, from 0."""
    confidence: float
    probabilities: dict[str, float]
    legend: dict[str, str]
    """Descriptions of the levels."""


class DecisionUsage(BaseModel):
    """Token counts of decisions; nothing is generated."""

    input_tokens: int
    output_tokens: int


class SystemOneAnswer(BaseModel):
    """The answer of ``/v1/systemone``."""

    model: str
    answers: dict[str, NoulAnswer | ChoiceAnswer | ScoreAnswer]
    usage: DecisionUsage


def repeated_name(raw: bytes) -> str | None:
    """Return a name that an object in a JSON text has twice, if any.

    JSON parsers keep the last one only, so one of two equal options would disappear unnoticed.
    """
    repeated: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and not repeated:
            names = [name for name, _ in pairs]
            repeated.append(next(name for name in names if names.count(name) > 1))
        return found

    try:
        json.loads(raw, object_pairs_hook=check)
    except (ValueError, RecursionError):  # it has been parsed before, perhaps by another parser
        return None
    return repeated[0] if repeated else None
