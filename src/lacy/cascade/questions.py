"""Hints for users who ask a question of a model that only continues texts.

A base model does not answer "When was Ada Lovelace born?"; it continues the text, often with an
invented date, although a source has the right one. "Ada Lovelace was born" works.
"""

from __future__ import annotations

import re

_QUESTION = re.compile(r"[?？؟]\W*\Z")
_ASKED = re.compile(
    r"(?:when|where|who|whom|what|which|how|why|in|on|at|by|for|to)\b.*?"
    r"\b(?P<verb>is|was|are|were|did|does|do|has|had|have|will|can)\s+(?P<rest>.+?)[?？]",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"(?:the\s+)?[^\W\d_a-z][\w'’.\-]*(?:\s+(?:(?:of|the|de|da|di|van|von|der|la|le|al|and)\s+)*"
    r"[^\W\d_a-z][\w'’.\-]*)*"
)
"""Capitalised words in a row, which may be joined by particles: the subject of a question."""

_LONGEST = 300
"""Most characters of a question for which a beginning is suggested."""


def hint(prompt: str, *, templated: bool) -> str:
    """A hint for a user who asked a question of a model that only continues texts, or "".

    Args:
        prompt: what the user wrote.
        templated: whether the model has a chat template, so that it was trained to answer.
    """
    if templated or not _QUESTION.search(prompt[-_LONGEST:]):
        return ""
    start = beginning(prompt)
    how = f"“{start}”" if start else "with “Ada Lovelace was born”, not “When was she born?”"
    return (
        "This model continues texts and was not trained to answer questions. Begin the sentence "
        f"that holds the answer, for example {how}."
    )


def beginning(question: str) -> str:
    """The beginning of the sentence that answers a question, or "" if none can be formed.

    "When was Ada Lovelace born?" becomes "Ada Lovelace was born"; where the verb would have to
    change ("Where did Ada study?"), only the name is left.
    """
    last = question.strip().rpartition("\n")[2][-_LONGEST:]
    found = _ASKED.match(last)
    if found is None:
        return ""
    name = _NAME.match(found["rest"])
    if name is None:
        return ""
    if found["verb"].lower() in ("did", "does", "do"):
        return name.group()
    rest = found["rest"][name.end() :].strip()
    return " ".join(part for part in (name.group(), found["verb"].lower(), rest) if part)
