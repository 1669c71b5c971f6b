"""Extracts from a model's answer the words that continue a text, without notation or repetition.

``added`` processes the answer received so far. ``settled`` says whether later text can no longer
change the beginning, so that a stream may be closed: the unit is the same as from the whole answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lacy.sources.models.notation import (
    DEEPEST,
    MOST,
    QUOTES,
    SIGNS,
    begins_plainly,
    inline,
    labelled,
    opened,
    plain,
    unpaired,
    unquoted,
    without_thoughts,
)
from lacy.sources.units import continuation

READING = 2
"""Version of the rules that process answers; cached answers of other versions are not used."""

_LOOK_BACK = 64
"""Words at the end of a text within which a repetition may begin (or with its very beginning)."""

_OPENING = 32
"""Number of characters after which a chat answer can no longer become a refusal."""

_LEAST_REPEATED = 3
"""Words of a text's end that a raw completion must repeat to count as a repetition."""

_PRONOUNS = ("he", "she", "it", "they", "this", "who", "i", "we", "you", "there")
_HALF = re.compile("[\ud800-\udfff]")
_RETOLD = 3
"""Words by which a restated sentence is recognised."""

_MARKS = frozenset("-–—*#>_|=~+•: \n")
"""An answer of only these characters is a list marker or a line without words."""
_STRAIGHT = str.maketrans("“”„«»‘’‚`´", "\"\"\"\"\"'''''")
_AFTER_REPETITION = re.compile(r"(?:…|\.\.\.+|:(?=\s)|[\"”»]+(?=\s))\s*")


def added(text: str, answer: str, *, raw: bool, whole: bool = False) -> str:
    """What an answer adds to a text, including a space between them where one is needed.

    Args:
        text: the text to continue.
        answer: the answer so far.
        raw: whether it is a raw continuation rather than a chat answer. A raw continuation keeps
            notation that the text itself uses.
        whole: whether the model ended its answer by itself.
    """
    return _added_raw(text, answer, whole) if raw else _added_by_chat(text, answer)


def settled(text: str, answer: str, *, raw: bool) -> bool:
    """Whether more of the answer can no longer change how its beginning is read.

    False while it may still become a refusal, reasoning, a label, a list, a quotation or a
    repetition of the text, and false if it contains any notation.
    """
    body = answer.lstrip()
    if not body or (len(body) < _OPENING and not raw):
        return False
    if not body[0].isalnum() or SIGNS & set(body) or _HALF.search(body):
        return False
    if not begins_plainly(body):
        return False
    said, words = _words_of(text), tuple(map(_compared, body.split()))
    if not raw and (words[0] in _PRONOUNS or words[0] in said) and not _differs(said, words[1:]):
        return False
    if not raw and any(_alike(said[start:], words) for start in _beginnings(text)):
        return False
    return _differs(said, words)


def retells(text: str, answer: str) -> bool:
    """Whether a chat answer restates the text's sentence instead of continuing it."""
    body = _bare(plain(answer))
    if _repeated(text, body, 1) or _retold(text, body):
        return False
    said, words = _words_of(text), tuple(map(_compared, body.split()))
    return len(words) >= _RETOLD and any(
        said[start : start + _RETOLD] == words[:_RETOLD] for start in _beginnings(text)
    )


def _alike(said: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether an answer's first words are, or may become, those of a sentence."""
    said, words = said[:_RETOLD], words[:_RETOLD]
    part = said[: len(words)]
    return part[:-1] == words[:-1] and len(part) == len(words) and part[-1].startswith(words[-1])


@lru_cache(maxsize=64)
def _beginnings(text: str) -> tuple[int, ...]:
    """The numbers of the words that begin the text and its last sentence."""
    words = text.split()
    ends = [n + 1 for n, word in enumerate(words[:-1]) if word[-1] in ".!?"]
    return (0, *ends[-1:])


def _differs(said: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether an answer that starts with these words cannot repeat the end of a text."""
    if not words:
        return False
    for start in [0, *range(max(0, len(said) - _LOOK_BACK), len(said))]:
        part = said[start : start + len(words)]
        if len(part) < len(words) or part[:-1] != words[:-1]:
            continue  # any repetition comes later
        if part[-1].startswith(words[-1]) or words[-1].startswith(part[-1]):
            return False
    return True


def _added_by_chat(text: str, answer: str) -> str:
    body = _bare(plain(answer))
    if _inside(text):
        body = unpaired(body)
    repeated = _repeated(text, body, 1) or _retold(text, body)
    rest = body[repeated:]
    if repeated and (mark := _AFTER_REPETITION.match(rest)):
        rest = " " + rest[mark.end() :]
    if repeated and rest and not rest[0].isspace():
        return rest  # inside a word, or a mark directly after one
    rest = _bare(rest) if repeated else rest
    if repeated and _inside(text):
        rest = unpaired(rest)
    return continuation(text, "" if set(rest) <= _MARKS else rest)


def _bare(body: str) -> str:
    """Removes what precedes or encloses the whole answer, in any order."""
    for _ in range(DEEPEST):
        inner = unquoted(opened(body.strip())).strip()
        if inner == body:
            break
        body = inner
    return body


def _added_raw(text: str, answer: str, whole: bool) -> str:
    body = without_text(text, without_thoughts(answer))[:MOST]
    lead = body[: len(body) - len(body.lstrip())]
    rest, new = body[len(lead) :], _inside(text) and "\n" in lead
    if not SIGNS & set(text):
        found = _plain_raw(rest, whole, new_line="\n" in lead, inside=_inside(text))
        new = new or not rest.startswith(found[:1]) or (len(rest) > len(found) and _marked(rest))
        rest = found
    return continuation(text, rest) if new else lead + rest


def _marked(rest: str) -> bool:
    """Whether the answer starts with notation."""
    return rest[0] in SIGNS or not begins_plainly(rest)


def _plain_raw(rest: str, whole: bool, *, new_line: bool, inside: bool) -> str:
    """The words of a raw continuation of a text without notation."""
    if SIGNS & set(rest):
        rest = plain(rest) if inside else inline(rest)
    if inside:
        rest = opened(rest) if new_line else labelled(rest)
    return unquoted(rest.strip(), closed=True) if whole and rest[:1] in QUOTES else rest


def without_text(text: str, answer: str) -> str:
    """A raw completion without the prompt that some servers repeat, or a second space."""
    new_line = answer.lstrip(" \t")[:1] == "\n"
    begin = answer.lstrip() if new_line and text.strip() else answer
    if text and begin.startswith(text.strip() if new_line else text):
        answer = begin[len(text.strip() if new_line else text) :]
    elif repeated := _repeated(text, answer, _LEAST_REPEATED):
        answer = answer[repeated:]
    return answer.lstrip(" ") if text[-1:].isspace() else answer


def _retold(text: str, body: str) -> int:
    """``_repeated`` if another word replaces the subject: "He was born in Kelfield"."""
    first = re.match(r"\S+\s+", body)
    if first is None or _compared(first.group().strip()) not in (*_PRONOUNS, *_words_of(text)):
        return 0
    repeated = _repeated(text, body[first.end() :], 2)
    return first.end() + repeated if repeated else 0


def _inside(text: str) -> bool:
    """Whether a text stops inside a sentence, where no new line can begin."""
    end = text.rstrip(" \t").rstrip("\"'”’»)]")
    return bool(end) and end[-1] not in ".!?…:;。！？\n"


@lru_cache(maxsize=64)
def _words_of(text: str) -> tuple[str, ...]:
    """Words as they are compared: in small letters, with straight quotation marks around none."""
    return tuple(_compared(word) for word in text.split())


def _compared(word: str) -> str:
    word = word.translate(_STRAIGHT)
    return (word.strip('"') or word).casefold()


def _repeated(text: str, body: str, least: int) -> int:
    """Characters at the start of ``body`` with which ``text`` ends, by words; spaces are alike.

    Several words are compared without the size of their letters, one alone with it, but for a
    capital at the beginning of an answer.
    """
    said = text.split()
    low = list(_words_of(text))
    words = list(re.finditer(r"\S+", body[: len(text) + 1000]))
    spoken = [_compared(word.group()) for word in words]
    for count in [len(said), *range(min(_LOOK_BACK, len(said)), 0, -1)]:
        if not 0 < count <= len(words) or count < least:
            continue
        if low[-count:-1] != spoken[: count - 1]:
            continue
        found, last = words[count - 1], said[-1]
        word = found.group()
        alike = spoken[count - 1] == low[-1]
        if alike and (count > 1 or word == last or (last.islower() and word.istitle())):
            return found.end()
        if not word.startswith(last):
            continue
        # One word alone must be repeated as a whole: "a" is not the beginning of "astronomer".
        cut_inside = word != last and last[-1].isalnum() and word[len(last)].isalnum()
        if not cut_inside or count > 1:
            return found.start() + len(last)
    return 0
