"""Questions with typed answers, in the form of the System One API (``POST /v1/systemone``).

The API calls a question whose answer is yes or no a ``noul``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lacy.errors import LacyError

DecisionType = Literal["noul", "choice", "score"]
TYPES: tuple[DecisionType, ...] = get_args(DecisionType)

MAX_QUESTIONS, MAX_OPTIONS, MAX_LEVELS = 64, 255, 10
"""Most questions in one request, options of a choice, and levels of a score. The last two are the
limits of TypeSafe's API."""

MAX_DEPTH = 64
"""Deepest nesting of a state, an instruction or a description (the limit of TypeSafe's API)."""

INSTRUCTIONS: dict[DecisionType, str] = {
    "noul": "Is this so?", "choice": "Which one fits?", "score": "Which level fits?",
}  # fmt: skip
"""Instructions of questions that have none."""

YES, NO = "true", "false"
"""Names of the options of a ``noul``, as in the API's criteria."""


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer.

    Attributes:
        name: what an answer is called: a label, ``true`` or ``false``, or a level's number.
        description: when it applies; empty if the name says it all.
    """

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class DecisionQuestion:
    """A question about a state, with all its possible answers.

    Attributes:
        type: ``noul`` (yes or no), ``choice`` or ``score`` (levels in rising order).
        instructions: the question itself.
        options: the possible answers; only for a ``score`` has their order a meaning.
    """

    type: DecisionType
    instructions: str
    options: tuple[Option, ...]

    def text_of(self, option: Option) -> str:
        """Return the text that stands for an option after ``Answer:``."""
        if self.type == "score":
            return option.description
        name = {YES: "yes", NO: "no"}[option.name] if self.type == "noul" else option.name
        return f"{name}: {option.description}" if option.description else name

    def in_order(self) -> list[int]:
        """Return the places of the options in an order that does not depend on the given one."""
        keys = [(self.text_of(one), one.name) for one in self.options]
        return sorted(range(len(keys)), key=keys.__getitem__)


def state_text(value: Any) -> str:
    """Return a state or description as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def question_from_data(data: Any, where: str = "question") -> DecisionQuestion:
    """Return the question that an object of the System One API describes.

    Args:
        data: ``{"type": ..., "instructions": ..., "criteria": ...}``. Criteria are an object with
            ``true`` and ``false`` (``noul``, may be missing), an object from labels to descriptions
            or null (``choice``), or a list of descriptions (``score``).
        where: names the question in errors.

    Raises:
        LacyError: E380, the question has no type, no options, equal options, or something else that
            cannot be decided.
    """
    if not isinstance(data, Mapping):
        raise LacyError("E380", where=where, why="it is not an object")
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        why = f"its type is {str(kind)[:80]!r}; types are {', '.join(TYPES)}"
        raise LacyError("E380", where=where, why=why)
    unknown = [str(name) for name in data if name not in ("type", "instructions", "criteria")]
    if unknown:
        raise LacyError("E380", where=where, why=f"it has the unknown field {unknown[0][:80]!r}")
    given, criteria = data.get("instructions"), data.get("criteria")
    instructions = _content(given, f"{where}: instructions").strip()
    make = {"noul": _noul, "choice": _choice, "score": _score}[kind]
    options = make(criteria, where)
    if kind == "noul" and not instructions and not any(one.description for one in options):
        why = "it has neither instructions nor criteria"
        raise LacyError("E380", where=where, why=why)
    return DecisionQuestion(kind, instructions or INSTRUCTIONS[kind], tuple(options))


def yes_no(instructions: str, yes: str = "", no: str = "") -> DecisionQuestion:
    """Return a question whose answer is yes or no, perhaps with descriptions of both."""
    criteria = {YES: yes or None, NO: no or None}
    data = {"type": "noul", "instructions": instructions, "criteria": criteria}
    return question_from_data(data)


def choice(
    instructions: str, options: Mapping[str, str | None] | Iterable[str]
) -> DecisionQuestion:
    """Return a question whose answer is one of several labels, with or without descriptions."""
    if not isinstance(options, Mapping):
        names = list(options)
        _require_different(names, "question")
        options = dict.fromkeys(names)
    data = {"type": "choice", "instructions": instructions, "criteria": options}
    return question_from_data(data)


def score(instructions: str, levels: Sequence[str]) -> DecisionQuestion:
    """Return a question whose answer is one of several levels, from the lowest to the highest."""
    data = {"type": "score", "instructions": instructions, "criteria": list(levels)}
    return question_from_data(data)


def _noul(criteria: Any, where: str) -> list[Option]:
    criteria = {} if criteria is None else criteria
    if not isinstance(criteria, Mapping) or not set(criteria) <= {YES, NO}:
        why = "criteria of a noul are an object with true and false"
        raise LacyError("E380", where=where, why=why)
    return [Option(name, _content(criteria.get(name), where).strip()) for name in (YES, NO)]


def _choice(criteria: Any, where: str) -> list[Option]:
    if not isinstance(criteria, Mapping) or not criteria:
        why = "criteria of a choice are an object with at least one label"
        raise LacyError("E380", where=where, why=why)
    _require_few(len(criteria), MAX_OPTIONS, "options", where)
    options = [Option(name, _content(value, where).strip()) for name, value in criteria.items()]
    if any(not isinstance(one.name, str) or not one.name.strip() for one in options):
        raise LacyError("E380", where=where, why="an option has an empty label")
    return options


def _score(criteria: Any, where: str) -> list[Option]:
    if not isinstance(criteria, list | tuple) or not criteria:
        why = "criteria of a score are a list with at least one level"
        raise LacyError("E380", where=where, why=why)
    _require_few(len(criteria), MAX_LEVELS, "levels", where)
    texts = [_content(value, where).strip() for value in criteria]
    if "" in texts:
        raise LacyError("E380", where=where, why=f"level {texts.index('')} has no description")
    _require_different(texts, where)
    return [Option(str(level), text) for level, text in enumerate(texts)]


def _require_few(count: int, most: int, what: str, where: str) -> None:
    if count > most:
        raise LacyError("E380", where=where, why=f"it has {count} {what}; {most} are possible")


def _require_different(texts: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise LacyError("E380", where=where, why=f"it has the option {text[:80]!r} twice")
        seen.add(text)


def _content(value: Any, where: str) -> str:
    """Return a value as text, "" for null.

    Raises:
        LacyError: E380, it cannot be written as text.
    """
    if value is None:
        return ""
    if not isinstance(value, str | dict | list):
        why = f"{value!r} is neither a text nor an object nor a list"
        raise LacyError("E380", where=where, why=why[:200])
    if too_deep(value):
        raise LacyError("E380", where=where, why=f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        text = state_text(value)
        text.encode()
    except UnicodeEncodeError:
        why = "it contains a lone surrogate (half a character)"
        raise LacyError("E380", where=where, why=why) from None
    return text


def too_deep(value: Any) -> bool:
    """True if a JSON value is nested deeper than ``MAX_DEPTH`` levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner for outer in level if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]  # fmt: skip
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)
