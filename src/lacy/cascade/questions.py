"""Hints for users who ask a question although the model only continues texts.

A base model does not answer "When was Ada Lovelace born?". It continues the text, often with an
invented date even if a source has the right one. The prompt "Ada Lovelace was born" works.
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
"""A prompt that is a question without a question mark, or a request."""
_ASKED = re.compile(
    r"(?:when|where|who|whom|what|which|whose|how|why|in|on|at|by|for|to)\b.*?"
    rf"\b(?P<verb>{_VERB})\s+(?P<rest>.+?)(?:[?？]|\s*\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"(?:the\s+)?[^\W\d_a-z][\w'’.\-]*(?:\s+(?:(?:of|the|de|da|di|van|von|der|la|le|al|and)\s+)*"
    r"[^\W\d_a-z][\w'’.\-]*)*"
)
"""The subject of a question: consecutive capitalised words, with particles such as "of" between."""

_LONGEST = 300
"""Maximum length in characters of a question for which the start of a sentence is suggested."""


def question_hint(prompt: str, *, templated: bool) -> str:
    """Return a hint if the prompt is a question and the model only continues texts, else "".

    Args:
        prompt: the user's prompt.
        templated: True if the model has a chat template, that is, was trained to answer.
    """
    if templated or not _asks(prompt):
        return ""
    start = sentence_start(re.sub(r"(?i)\s*\b(?:a|answer):\s*\Z", "", prompt[-2 * _LONGEST :]))
    example = f"“{start}”" if start else "with “Ada Lovelace was born”, not “When was she born?”"
    return (
        "This model continues texts and was not trained to answer questions. Begin the sentence "
        f"that has the answer, for example {example}."
    )


def _asks(prompt: str) -> bool:
    if _QUESTION.search(prompt[-_LONGEST:]):
        return True
    return len(prompt) <= _LONGEST and _UNMARKED.match(prompt.strip()) is not None


def sentence_start(question: str) -> str:
    """Return the start of a sentence that answers the question, or "" if none can be formed.

    "When was Ada Lovelace born?" becomes "Ada Lovelace was born". If the verb would have to change,
    as in "Where did Ada study?", only the name is returned.
    """
    last = question.strip().rpartition("\n")[2][-_LONGEST:]
    last = re.sub(r"(?i)\A(?:q|question):\s*", "", last)
    question_parts = _ASKED.match(last)
    if question_parts is None:
        return ""
    name = _NAME.match(question_parts["rest"])
    if name is None:
        return ""
    if question_parts["verb"].lower() in ("did", "does", "do"):
        return name.group()
    rest = question_parts["rest"][name.end() :].strip()
    return " ".join(part for part in (name.group(), question_parts["verb"].lower(), rest) if part)
