"""Split a text into sentences by rules.

The original FActScore uses NLTK's punkt model with repairs: pieces that begin with a small letter,
single words, and names broken after an initial are joined to their neighbour. Here all of this is
one set of rules without a model, so that a text gives the same sentences on every machine.
"""

from __future__ import annotations

import re

_LOOK_AHEAD = 80
"""Characters behind a period that are looked at, so that long paragraphs take linear time."""

_END = re.compile(r"""[.!?…]+(?:["'”’)\]]|\[\d+\])*(?=\s|$)""")
_CITATION = re.compile(r"\s*\[\d{1,3}\](?!\w)")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)]|#{1,6})\s+")
_INITIAL = re.compile(r"(?:^|[\s(\"“.])[A-Z]\.$")
_OPENS = re.compile(r"""["'“‘(\[]*[A-Z0-9À-ÖØ-Þ"“]""")

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof rev fr sr jr st sgt capt cpt lt col gen maj cmdr adm gov sen rep hon pres"
    " messrs mt ft vs no nos vol vols pp ed eds approx est dept univ op feat"
    " jan feb mar apr jun jul aug sep sept oct nov dec e.g i.e cf ca c b d"
    " u.s u.k u.n d.c ph.d m.d b.a m.a b.sc m.sc s.j j.d ll.b".split()
)
"""Words, in small letters, after whose period a sentence usually goes on."""

_ALSO_LAST = frozenset("u.s u.k d.c ph.d m.d b.a m.a b.sc m.sc jr sr j.d ll.b s.j".split())
"""Abbreviations that often end a sentence too; one ends there if a common opening word follows."""

_OPENING_WORDS = frozenset(
    "he she it they his her its their the this these in on after before during since from at as"
    " while although however despite a an some many one with by for when born".split()
)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, paragraph by paragraph.

    Citation marks such as ``[2]`` and the marks of lists are removed. A piece of one word, or one
    that begins with a small letter, belongs to the sentence before it (as in the original).

    Args:
        text: any text; line breaks end paragraphs.
    """
    return [sentence for line in text.splitlines() for sentence in _split_paragraph(line)]


def _split_paragraph(line: str) -> list[str]:
    paragraph = _CITATION.sub("", _BULLET.sub("", line)).replace("**", "").strip()
    pieces, start = [], 0
    for match in _END.finditer(paragraph):
        if _ends_sentence(paragraph, match.start(), match.end()):
            pieces.append(paragraph[start : match.end()].strip())
            start = match.end()
    if rest := paragraph[start:].strip():
        pieces.append(rest)
    return _joined(pieces)


def _ends_sentence(text: str, dot: int, end: int) -> bool:
    """True if the punctuation at ``[dot, end)`` ends a sentence."""
    rest = text[end : end + _LOOK_AHEAD].lstrip()
    if not rest:
        return True
    if not _OPENS.match(rest):
        return False
    if text[dot : dot + 1] != "." or text[dot : dot + 2] == "..":
        return True
    before = text[max(0, dot - 40) : dot]
    [*_, word] = before.split() or [""]
    word = word.lstrip("(\"'“‘[").lower()
    [following, *_] = rest.lstrip("\"'“‘([").split() or [""]
    following = following.strip(",.").lower()
    if word in _ALSO_LAST:
        return following in _OPENING_WORDS
    if _INITIAL.search(before + "."):
        # "J. R. R. Tolkien", but not "... vitamin D. He then ..."
        return following in _OPENING_WORDS and rest[:1].isupper()
    return word not in _ABBREVIATIONS


def _joined(pieces: list[str]) -> list[str]:
    """Join pieces that are no sentences of their own to the previous one."""
    sentences: list[str] = []
    for piece in pieces:
        words = piece.split()
        single = len(words) <= 1
        small = piece[0].isalpha() and not piece[0].isupper()
        alone = bool(sentences) and len(sentences[-1].split()) <= 1 and len(sentences) == 1
        if sentences and (single or small or alone):
            sentences[-1] += f" {piece}"
        else:
            sentences.append(piece)
    return sentences
