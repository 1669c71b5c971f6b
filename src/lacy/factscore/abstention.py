"""Recognise texts in which a model declines to answer.

``generic`` and ``perplexity_ai`` are the rules of the original FActScore
(factscore/abstain_detection.py, MIT licence); it applies none of them by default. ``lacy``, our
default, applies both and knows more wordings.
"""

from __future__ import annotations

import re
from typing import Literal

AbstentionRule = Literal["lacy", "generic", "perplexity_ai", "none"]
"""Names of the rules; ``none`` takes only empty texts for abstentions."""

_NOT_FOUND = (
    "I could not find any information", "The search results do not provide",
    "There is no information", "There are no search results",
    "there are no provided search results", "not provided in the search results",
    "is not mentioned in the provided search results",
    "There seems to be a mistake in the question", "Not sources found", "No sources found",
    "Try a more general question",
)  # fmt: skip

_CITED = re.compile(r"\s*\[\d+\]\s*")
_DECLINES = re.compile(
    r"^\W*(?:unfortunately,? |sorry,? |i apologi[sz]e,? (?:but )?|i[’']?m sorry,? (?:but )?"
    r"|as an ai(?: language)? model,? )*"
    r"(?:i (?:do(?: not|n[’']t)|can(?:not|[’']t| not)|could(?: not|n[’']t)|am (?:not able|unable))"
    r"|i[’']?m (?:not able|unable|not (?:sure|aware|familiar))|i have no |there (?:is|are) no "
    r"|no (?:relevant )?(?:information|results?|sources) (?:\w+ ){0,4}(?:found|available|about)"
    r"|the (?:provided )?search results? (?:do(?:es)? not|only|provided|(?:is|are) about)"
    r"|(?:[\w.'-]+ ){1,6}is not mentioned in )",
    re.IGNORECASE,
)


def abstains(text: str, rule: AbstentionRule = "lacy") -> bool:
    """Return True if a text is empty or declines to answer.

    Args:
        text: what the model wrote.
        rule: which rules to apply.
    """
    if not text.strip():
        return True
    if rule == "none":
        return False
    if rule == "generic":
        return _generic(text)
    if rule == "perplexity_ai":
        return _finds_nothing(text)
    return _generic(text) or _finds_nothing(text) or bool(_DECLINES.match(text.strip()))


def _generic(text: str) -> bool:
    return text.startswith("I'm sorry") or "provide more" in text


def _finds_nothing(text: str) -> bool:
    """True if the first paragraph says that nothing was found."""
    text = _CITED.sub("", text)
    if text.startswith("According to , "):
        text = text.replace("According to , ", "According to the search results, ")
    first = text.split("\n\n")[0].lower()
    return not first.strip() or any(phrase.lower() in first for phrase in _NOT_FOUND)
