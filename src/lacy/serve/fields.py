"""Request fields that lacy does not implement, and the values at which they have no effect.

Clients of OpenAI, vLLM, llama.cpp and other servers send many such fields, mostly with default
values. A field that only describes the request is ignored. A field that could change the answer is
accepted if its value has no effect, and refused otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Any

from pydantic import create_model

_FILE = resources.files(__package__) / "fields.toml"
_TABLES: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _with_null(table: str) -> dict[str, tuple[Any, ...]]:
    return {name: (None, *values) for name, values in _TABLES[table].items()}


NO_EFFECT = _with_null("no_effect")
"""Unsupported fields of the APIs of OpenAI and other servers, with their values without effect."""

RESPONSE_ONLY = _with_null("responses")
"""Unsupported fields that only ``/v1/responses`` has, with their values without effect."""

HELP = {name: entry["text"] for entry in _TABLES["help"] for name in entry["fields"].split()}
"""What a client can do instead of using an unsupported field."""

IGNORED, CHAT_ONLY, COMPLETION_ONLY = (
    frozenset(_TABLES[name].split()) for name in ("ignored", "chat_only", "completion_only")
)


def declare(
    name: str, base: type[Any], *, chat: bool | None, more: Iterable[str] = ()
) -> type[Any]:
    """Return a pydantic model that extends ``base`` by unsupported fields of any type.

    Args:
        name: the name of the new model.
        base: the model to extend.
        chat: True for fields that only chats have, False for those that only completions have, None
            for fields that both have.
        more: names of further fields.
    """
    all_fields = {*NO_EFFECT, *IGNORED, "parallel_tool_calls"}
    fields_of = {
        None: all_fields - CHAT_ONLY - COMPLETION_ONLY,
        True: CHAT_ONLY,
        False: COMPLETION_ONLY,
    }
    definitions: dict[str, Any] = {
        field: (Any, None) for field in sorted({*fields_of[chat], *more})
    }
    return create_model(name, __base__=base, **definitions)


def unsupported_field(
    given: dict[str, Any], no_effect: dict[str, tuple[Any, ...]] = NO_EFFECT
) -> str | None:
    """Return the name of the first unsupported field whose value would have an effect.

    Args:
        given: the fields that a request sets.
        no_effect: unsupported fields, with their values that have no effect.
    """
    unused = set()  # tools have no effect if none of them may be called
    for switch, what in (("tool_choice", "tools"), ("function_call", "functions")):
        if given.get(switch) == "none":
            unused.add(what)
    for name, value in given.items():
        if name not in no_effect or name in unused or value in no_effect[name]:
            continue
        # No effect, as all generated texts are returned.
        if name == "best_of" and value == given.get("n"):
            continue
        return name
    return None
