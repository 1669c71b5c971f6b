"""Convert samples that contain lists of messages, as chat data sets have them, to plain fields.

Supported are TRL's formats (https://huggingface.co/docs/trl/dataset_formats): ``prompt``,
``chosen``, ``rejected`` and ``completion`` may be texts or lists of messages, the prompt may be
part of ``chosen`` and ``rejected``, and ``messages`` is a whole conversation. Also ShareGPT's
``conversations`` (``from`` and ``value``), and the texts of hh-rlhf (``Human:``, ``Assistant:``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

REPLIES = ("reply", "completion")
"""Fields with the reply to imitate."""

CONVERSATIONS = ("messages", "conversations")
"""Fields with a whole conversation whose last reply is to imitate."""

HISTORY = "messages before the prompt"
"""Field with the earlier messages that ``plain_fields`` adds."""

FIELDS = ("prompt", "chosen", "rejected", *REPLIES, *CONVERSATIONS)
"""Fields that may contain lists of messages."""

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
"""Names of roles in other formats."""

_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class Turn(TypedDict):
    """One message of a conversation: ``system``, ``user`` or ``assistant``, and its text."""

    role: str
    content: str


def plain_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with texts as ``prompt``, ``chosen``, ``rejected`` and ``reply``.

    Messages before the last one of the user become the field ``HISTORY``, a list of messages. Rows
    that contain texts only are returned as they are.

    Raises:
        ValueError: a list of messages cannot be understood; the message is a clause such as
            "its chosen has no reply".
    """
    given = {name: row[name] for name in FIELDS if row.get(name) is not None}
    for name in CONVERSATIONS:  # elsewhere, a field of this name may be a number or a note
        if not isinstance(given.get(name), list):
            given.pop(name, None)
    found = {name: _messages(name, value) for name, value in given.items()}
    talks = {name: turns for name, turns in found.items() if turns is not None}
    if not talks:
        return row
    kept = {name: value for name, value in row.items() if name not in talks}
    asked = talks.pop("prompt", None)
    if asked is None and isinstance(given.get("prompt"), str):
        asked = [Turn(role="user", content=given["prompt"])]
    for name, (*start, last) in talks.items():
        if last["role"] != "assistant":
            raise ValueError(f"its {name} does not end in a message of the assistant")
        kept["reply" if name in CONVERSATIONS else name] = last["content"]
        if asked is None or _ends_in(start, asked):
            asked = start
        elif start:
            raise ValueError(f"the messages before the reply of its {name} are not its prompt")
    if not asked or asked[-1]["role"] != "user":
        raise ValueError("the last message before the reply is not one of the user")
    kept["prompt"], history = asked[-1]["content"], asked[:-1]
    return {**kept, HISTORY: history} if history else kept


def _ends_in(longer: list[Turn], shorter: list[Turn]) -> bool:
    """Return whether a list of messages ends in another one, which may be without a system's."""
    tails = zip(longer[::-1], shorter[::-1], strict=False)
    return len(longer) >= len(shorter) and all(
        a["role"] == b["role"] and a["content"].strip() == b["content"].strip() for a, b in tails
    )


def _messages(name: str, value: object) -> list[Turn] | None:
    """Return the messages of a field, None if it is a plain text.

    Raises:
        ValueError: it is a list, but not of messages.
    """
    if isinstance(value, str):
        return _hh_messages(value) if name in ("chosen", "rejected") else None
    if not isinstance(value, Sequence):
        raise ValueError(f"its {name} is neither a text nor a list of messages")
    if not value:
        raise ValueError(f"its {name} is empty")
    return [_message(name, number, one) for number, one in enumerate(value, 1)]


def _message(name: str, number: int, given: object) -> Turn:
    """Return one message.

    Raises:
        ValueError: it has no role or no text.
    """
    where = f"message {number} of its {name}"
    if not isinstance(given, dict):
        raise ValueError(f"{where} is not an object with role and content")
    role, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
    if isinstance(content, list):  # parts, of which only texts can be used
        texts = [part.get("text") if isinstance(part, dict) else None for part in content]
        known = [text for text in texts if isinstance(text, str)]
        content = "".join(known) if len(known) == len(texts) else None
    role = _ROLES.get(role, role) if isinstance(role, str) else None
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"{where} has no role among system, user and assistant")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"{where} has no text")
    return Turn(role=role, content=content)


def _hh_messages(text: str) -> list[Turn] | None:
    """Return the messages of a conversation as in hh-rlhf, None if the text is none."""
    before, *turns = _TURN.split(f"\n\n{text.lstrip()}")
    if before or len(turns) < 4 or turns[0] != "Human":
        return None
    return [
        Turn(role=_SPEAKERS[speaker], content=content.strip())
        for speaker, content in zip(turns[::2], turns[1::2], strict=True)
        if content.strip()
    ]
