"""Extract the words that continue a text from a model's answer, without notation or repetition.

``continuation_in`` processes the answer received so far. ``is_settled`` is True once later text can
no longer change the beginning of the result; a stream can then be closed, and the unit is the same
as from the whole answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lacy.sources.models.notation import (
    MARKUP,
    MAX_CHARS,
    MAX_NESTING,
    QUOTES,
    after_reasoning,
    starts_plainly,
    without_first_quotes,
    without_label,
    without_markup,
    without_notation,
    without_preamble,
    without_quotes,
)
from lacy.sources.units import continuation

READING_VERSION = 2
"""Version of the rules that process answers; a cache ignores answers from other versions."""

_MAX_REPEATED_WORDS = 64
"""A repetition must begin within this many words of the text's end, or at the text's start."""

_REFUSAL_CHARS = 32
"""After this many characters, a chat answer can no longer become a refusal."""

_MIN_REPEATED_WORDS = 3
"""Minimum number of words that a raw completion must repeat to count as a repetition."""

_PRONOUNS = ("he", "she", "it", "they", "this", "who", "i", "we", "you", "there")
_SURROGATE = re.compile("[\ud800-\udfff]")
_RESTATED_WORDS = 3
"""Number of first words that identify a restated sentence."""

_MARKS = frozenset("-–—*#>_|=~+•: \n")
"""An answer of only these characters is a list marker or a line, not words."""
_STRAIGHT_QUOTES = str.maketrans("“”„«»‘’‚`´", "\"\"\"\"\"'''''")
_AFTER_REPETITION = re.compile(r"(?:…|\.\.\.+|:(?=\s)|[\"”»]+(?=\s))\s*")


def continuation_in(text: str, answer: str, *, raw: bool, whole: bool = False) -> str:
    """Return what an answer adds to a text, with a leading space if one is needed.

    Args:
        text: the text to continue.
        answer: the answer so far.
        raw: True for a raw completion, where notation that the text itself uses is kept; False for
            a chat answer.
        whole: True if the model ended its answer.
    """
    return _raw_continuation(text, answer, whole) if raw else _chat_continuation(text, answer)


def is_settled(text: str, answer: str, *, raw: bool) -> bool:
    """True if later text cannot change the interpretation of the beginning of the answer.

    False while the answer may still become a refusal, reasoning, a label, a list, a quotation or a
    repetition of the text, and if it contains any notation.
    """
    body = answer.lstrip()
    if not body or (len(body) < _REFUSAL_CHARS and not raw):
        return False
    if not body[0].isalnum() or MARKUP & set(body) or _SURROGATE.search(body):
        return False
    if not starts_plainly(body):
        return False
    before, words = _normalized_words(text), tuple(map(_normalized, body.split()))
    if not raw:
        # A pronoun may replace the subject in a repetition: "He was born in".
        subject = words[0] in _PRONOUNS or words[0] in before
        if subject and not _cannot_repeat(before, words[1:]):
            return False
        if any(_may_restate(before[start:], words) for start in _sentence_starts(text)):
            return False
    return _cannot_repeat(before, words)


def restates(text: str, answer: str) -> bool:
    """True if a chat answer restates the text's sentence instead of continuing it."""
    body = _unwrap(without_notation(answer))
    if _repeated_chars(text, body, 1) or _repeated_with_pronoun(text, body):
        return False
    before, words = _normalized_words(text), tuple(map(_normalized, body.split()))
    first = words[:_RESTATED_WORDS]
    return len(first) == _RESTATED_WORDS and any(
        before[start : start + _RESTATED_WORDS] == first for start in _sentence_starts(text)
    )


def _may_restate(sentence: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """True if an answer's first words are, or may still become, the first words of a sentence."""
    words = words[:_RESTATED_WORDS]
    start = sentence[: len(words)]
    same = start[:-1] == words[:-1] and len(start) == len(words)
    return same and start[-1].startswith(words[-1])


@lru_cache(maxsize=64)
def _sentence_starts(text: str) -> tuple[int, ...]:
    """Return the indices of the first words of the text and of its last sentence."""
    words = text.split()
    ends = [n + 1 for n, word in enumerate(words[:-1]) if word[-1] in ".!?"]
    return (0, *ends[-1:])


def _cannot_repeat(before: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """True if an answer that starts with these words cannot repeat the end of the text."""
    if not words:
        return False
    for start in [0, *range(max(0, len(before) - _MAX_REPEATED_WORDS), len(before))]:
        part = before[start : start + len(words)]
        if len(part) < len(words) or part[:-1] != words[:-1]:
            continue  # a repetition can only begin later
        if part[-1].startswith(words[-1]) or words[-1].startswith(part[-1]):
            return False
    return True


def _chat_continuation(text: str, answer: str) -> str:
    body = _unwrap(without_notation(answer))
    if _inside_sentence(text):
        body = without_first_quotes(body)
    repeated = _repeated_chars(text, body, 1) or _repeated_with_pronoun(text, body)
    rest = body[repeated:]
    if repeated and (mark := _AFTER_REPETITION.match(rest)):
        rest = " " + rest[mark.end() :]
    if repeated and rest and not rest[0].isspace():
        return rest  # no space: it continues a word, or is punctuation
    rest = _unwrap(rest) if repeated else rest
    if repeated and _inside_sentence(text):
        rest = without_first_quotes(rest)
    return continuation(text, "" if set(rest) <= _MARKS else rest)


def _unwrap(body: str) -> str:
    """Remove labels, quotes and markers around the whole answer, in any order of nesting."""
    for _ in range(MAX_NESTING):
        inner = without_quotes(without_preamble(body.strip())).strip()
        if inner == body:
            break
        body = inner
    return body


def _raw_continuation(text: str, answer: str, whole: bool) -> str:
    body = without_prompt(text, after_reasoning(answer))[:MAX_CHARS]
    space = body[: len(body) - len(body.lstrip())]
    rest, inside = body[len(space) :], _inside_sentence(text)
    respace = inside and "\n" in space
    if not MARKUP & set(text):
        notation = bool(rest) and (rest[0] in MARKUP or not starts_plainly(rest))
        words = _raw_words(rest, whole, new_line="\n" in space, inside=inside)
        respace = respace or not rest.startswith(words[:1]) or (len(rest) > len(words) and notation)
        rest = words
    return continuation(text, rest) if respace else space + rest


def _raw_words(rest: str, whole: bool, *, new_line: bool, inside: bool) -> str:
    """Return the words of a raw completion if the text itself uses no notation."""
    if MARKUP & set(rest):
        rest = without_notation(rest) if inside else without_markup(rest)
    if inside:
        rest = without_preamble(rest) if new_line else without_label(rest)
    return without_quotes(rest.strip(), closed=True) if whole and rest[:1] in QUOTES else rest


def without_prompt(text: str, answer: str) -> str:
    """Remove the prompt, which some servers repeat in a raw completion, and a doubled space."""
    new_line = answer.lstrip(" \t")[:1] == "\n"
    begin = answer.lstrip() if new_line and text.strip() else answer
    prompt = text.strip() if new_line else text
    if text and begin.startswith(prompt):
        answer = begin[len(prompt) :]
    elif repeated := _repeated_chars(text, answer, _MIN_REPEATED_WORDS):
        answer = answer[repeated:]
    return answer.lstrip(" ") if text[-1:].isspace() else answer


def _repeated_with_pronoun(text: str, body: str) -> int:
    """Like ``_repeated_chars``, but the subject may be a pronoun: "He was born in Kelfield"."""
    subjects = (*_PRONOUNS, *_normalized_words(text))
    first = re.match(r"\S+\s+", body)
    if first is None or _normalized(first.group().strip()) not in subjects:
        return 0
    repeated = _repeated_chars(text, body[first.end() :], 2)
    return first.end() + repeated if repeated else 0


def _inside_sentence(text: str) -> bool:
    """True if a text ends inside a sentence; a new line cannot begin there."""
    end = text.rstrip(" \t").rstrip("\"'”’»)]")
    return bool(end) and end[-1] not in ".!?…:;。！？\n"


@lru_cache(maxsize=64)
def _normalized_words(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower case without quotation marks, for comparisons."""
    return tuple(_normalized(word) for word in text.split())


def _normalized(word: str) -> str:
    word = word.translate(_STRAIGHT_QUOTES)
    return (word.strip('"') or word).casefold()


def _repeated_chars(text: str, body: str, min_words: int) -> int:
    """Return the number of characters at the start of ``body`` that repeat the end of ``text``.

    Whole words are compared and spaces between them ignored. Several words are compared in lower
    case; a single word must also have the same case, except for the answer's first letter.
    """
    before, normalized = text.split(), list(_normalized_words(text))
    matches = list(re.finditer(r"\S+", body[: len(text) + 1000]))
    words = [_normalized(match.group()) for match in matches]
    longest = min(_MAX_REPEATED_WORDS, len(before))
    for count in [len(before), *range(longest, 0, -1)]:
        if not max(1, min_words) <= count <= len(words):
            continue
        if normalized[-count:-1] != words[: count - 1]:
            continue
        match, last = matches[count - 1], before[-1]
        word = match.group()
        same = words[count - 1] == normalized[-1]
        if same and (count > 1 or word == last or (last.islower() and word.istitle())):
            return match.end()
        if not word.startswith(last):
            continue
        # A single word must be repeated as a whole: "a" is not the beginning of "astronomer".
        inside = word != last and last[-1].isalnum() and word[len(last)].isalnum()
        if not inside or count > 1:
            return match.start() + len(last)
    return 0
