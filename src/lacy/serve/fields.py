"""Request fields that lacy does not implement, and their values that have no effect.

OpenAI's clients send some of them, and clients of vLLM, llama.cpp and others send more, mostly with
default values. A field that only describes the request is ignored. A field that would change the
answer is accepted if its value has no effect, and refused otherwise.
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
"""Unsupported fields of OpenAI's and other servers' APIs, with the values that have no effect."""

RESPONSE_ONLY = _with_null("responses")
"""The same for fields of the Responses API."""

HELP = {name: entry["text"] for entry in _TABLES["help"] for name in entry["fields"].split()}
"""What to do instead, or where to read about it."""

IGNORED, CHAT_ONLY, COMPLETION_ONLY = (
    frozenset(_TABLES[name].split()) for name in ("ignored", "chat_only", "completion_only")
)


def declare(
    name: str, base: type[Any], *, chat: bool | None, more: Iterable[str] = ()
) -> type[Any]:
    """Return a model of a request with these fields, each of any type.

    Args:
        name: its name.
        base: the model to extend.
        chat: use the fields of chats or those of completions; None: those that both have.
        more: further fields.
    """
    every = {*NO_EFFECT, *IGNORED, "parallel_tool_calls"}
    some = {None: every - CHAT_ONLY - COMPLETION_ONLY, True: CHAT_ONLY, False: COMPLETION_ONLY}
    declared: dict[str, Any] = {field: (Any, None) for field in sorted({*some[chat], *more})}
    return create_model(name, __base__=base, **declared)


def unsupported_field(
    given: dict[str, Any], no_effect: dict[str, tuple[Any, ...]] = NO_EFFECT
) -> str | None:
    """Return the first unsupported field of a request that would have an effect.

    Args:
        given: the fields that a request sets.
        no_effect: unsupported fields, with the values that have no effect.
    """
    unused = set()  # tools that must not be called have no effect
    for switch, what in (("tool_choice", "tools"), ("function_call", "functions")):
        if given.get(switch) == "none":
            unused.add(what)
    for name, value in given.items():
        if name not in no_effect or name in unused or value in no_effect[name]:
            continue
        if name == "best_of" and value == given.get("n"):  # every generated text is returned
            continue
        return name
    return None
