"""Tell the user of a model that only continues texts what to type instead of a question."""

from __future__ import annotations

import re

from lacy.cascade.questions import (
    LONGEST_QUESTION,
    is_question,
    names_its_subject,
    statement_start,
)


def question_hint(prompt: str, *, templated: bool) -> str:
    """Return a hint if the prompt is a question and the model only continues texts, else "".

    Args:
        prompt: the user's prompt.
        templated: True if the model has a chat template, that is, was trained to answer.
    """
    if templated or not is_question(prompt):
        return ""
    start = sentence_start(
        re.sub(r"(?i)\s*\b(?:a|answer):\s*\Z", "", prompt[-2 * LONGEST_QUESTION :])
    )
    example = f"“{start}”" if start else "with “Ada Lovelace was born”, not “When was she born?”"
    return (
        "This model continues texts and was not trained to answer questions. Begin the sentence "
        f"that has the answer, for example {example}."
    )


def sentence_start(prompt: str) -> str:
    """Return the start of a sentence about the question that a prompt ends with, or ""."""
    last = prompt.strip().rpartition("\n")[2][-LONGEST_QUESTION:]
    last = re.sub(r"(?i)\A(?:q|question):\s*", "", last)
    return statement_start(last) if names_its_subject(last) else ""
