"""Types for request bodies that are validated in linear time.

pydantic collects every error, and tries each member of a union. A body of 0.7 MB with 350,000
invalid elements then blocked the server for seconds. Validation of the lists defined here stops at
the first invalid element, and objects report only their first unknown field, so the number of
errors depends on the fields of a body and not on its length.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")

MOST_MESSAGES = 4096
"""Most messages of one chat. Each takes several tokens; more would not fit a small context."""

MOST_PARTS = 1024
"""Most parts of one message."""

MOST_PROMPTS = 2048
"""Most prompts of one request, whatever ``Limits.prompts`` is (OpenAI's limit)."""

Each = Annotated[list[T], Field(fail_fast=True)]
"""A list that is validated up to its first error."""

Several = Annotated[list[T], Field(min_length=1, fail_fast=True)]
"""The same with at least one element."""

Prompts = Annotated[list[T], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
Parts = Annotated[list[T], Field(max_length=MOST_PARTS, fail_fast=True)]
Messages = Annotated[list[T], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]


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
