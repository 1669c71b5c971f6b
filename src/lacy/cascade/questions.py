"""Hints for users who ask a question although the model only continues texts.

A base model does not answer "When was Ada Lovelace born?"; it continues the text, often with an
invented date, although a source has the right one. "Ada Lovelace was born" works.
"""

from __future__ import annotations

import re

_QUESTION = re.compile(r"[?？؟]\W*(?:\b(?:a|answer):\s*)?\Z", re.IGNORECASE)
_VERB = r"(?:is|was|are|were|did|does|do|has|had|have|will|can)"
_NOUN = r"(?!(?:he|she|it|they|we|you|this|that)\b)(?-i:[a-z]+)"
_UNMARKED = re.compile(
    rf"(?:(?:who|whom|what|when|where|why|how|(?:what|which|whose|how) {_NOUN}) {_VERB}\b"
    r"|(?:please,? )?(?:tell me|give me|name the|list (?:all|the))\b)[^.!?？\n]*[.!]?\s*\Z",
    re.IGNORECASE,
)
"""Questions without a question mark, and requests, as the whole of a prompt."""
_ASKED = re.compile(
    r"(?:when|where|who|whom|what|which|whose|how|why|in|on|at|by|for|to)\b.*?"
    rf"\b(?P<verb>{_VERB})\s+(?P<rest>.+?)(?:[?？]|\s*\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"(?:the\s+)?[^\W\d_a-z][\w'’.\-]*(?:\s+(?:(?:of|the|de|da|di|van|von|der|la|le|al|and)\s+)*"
    r"[^\W\d_a-z][\w'’.\-]*)*"
)
"""The subject of a question: capitalised words in a row, which particles may join."""

_LONGEST = 300
"""Longest question (characters) for which the start of a sentence is suggested."""


def question_hint(prompt: str, *, templated: bool) -> str:
    """Return a hint if the prompt is a question and the model only continues texts, else "".

    Args:
        prompt: what the user wrote.
        templated: True if the model has a chat template, so that it was trained to answer.
    """
    if templated or not _asks(prompt):
        return ""
    start = sentence_start(re.sub(r"(?i)\s*\b(?:a|answer):\s*\Z", "", prompt[-2 * _LONGEST :]))
    how = f"“{start}”" if start else "with “Ada Lovelace was born”, not “When was she born?”"
    return (
        "This model continues texts and was not trained to answer questions. Begin the sentence "
        f"that holds the answer, for example {how}."
    )


def _asks(prompt: str) -> bool:
    if _QUESTION.search(prompt[-_LONGEST:]):
        return True
    return len(prompt) <= _LONGEST and _UNMARKED.match(prompt.strip()) is not None


def sentence_start(question: str) -> str:
    """Return the start of the sentence that answers a question, or "" if none can be formed.

    "When was Ada Lovelace born?" becomes "Ada Lovelace was born"; where the verb would have to
    change ("Where did Ada study?"), only the name is left.
    """
    last = question.strip().rpartition("\n")[2][-_LONGEST:]
    last = re.sub(r"(?i)\A(?:q|question):\s*", "", last)
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
