"""Take phrases of a dependency parse apart and put their words together again.

A phrase is a set of token positions. ``PhraseReader`` reads the phrase under a word without the
clauses that describe it (these become facts of their own) and lists its variants: one for each
member of a coordination ("an actress and singer": "an actress", "a singer").
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

MAX_VARIANTS = 12
"""Maximum number of variants of a phrase; beyond them, coordinations stay whole (ours)."""

NOUNS = frozenset({"NOUN", "PROPN", "PRON", "NUM"})

_LEFT = frozenset({"det", "amod", "poss", "nummod"})
_DESCRIBING = frozenset({"relcl", "acl", "appos"})
_KEPT_WITH = frozenset(
    "one ones those some many most people person thing things someone anyone everyone all any few"
    " part way reason time fact idea".split()
)
"""Nouns that say nothing without the clause that describes them."""

_NAMING = frozenset("call name title entitle dub nickname know include involve".split())
"""Participles that give a noun its name; the noun keeps them."""

_SINGLING_OUT = frozenset({"first", "second", "third", "last", "only", "youngest", "oldest"})


def describes(token: Token) -> bool:
    """True if a clause or apposition becomes a fact of its own instead of a part of its noun."""
    if token.dep_ not in _DESCRIBING:
        return False
    head = token.head
    if token.dep_ == "appos":
        return _set_off(token) and not _is_place_part(token) and not _is_listed(token)
    if head.lemma_.lower() in _KEPT_WITH or _singled_out(head):
        return False
    if token.dep_ == "acl":
        kept = token.lemma_ in _NAMING and not _set_off(token)
        return token.tag_ in ("VBN", "VBG") and not kept
    return relative_role(token) != ""


def is_example_list(prep: Token) -> bool:
    """True for "such as A and B", "including A and B"."""
    if prep.dep_ != "prep":
        return False
    return prep.lower_ == "including" or (
        prep.lower_ == "as" and prep.i > 0 and prep.nbor(-1).lower_ == "such"
    )


def belongs_to_birth(prep: Token) -> bool:
    """True for "in Madrid" of "an actress born on July 18, in Madrid", which describes "born"."""
    return prep.dep_ == "prep" and any(
        child.lower_ == "born" and child.dep_ == "acl" and child.i < prep.i
        for child in prep.head.children
    )


def is_late_place(prep: Token) -> bool:
    """True for "in Belgrade" of "was born on January 19, in Belgrade", attached to the date."""
    verb = prep.head.head.head
    after_comma = prep.i > 0 and prep.nbor(-1).text == ","
    return (
        prep.dep_ == "prep"
        and after_comma
        and prep.head.dep_ == "pobj"
        and verb.lemma_ in ("bear", "die")
    )


def is_joined_verb(verb: Token) -> bool:
    """True for "plays" of "is 34 years old and plays": a verb joined to an adjective or noun."""
    finite = verb.tag_ in ("VBD", "VBZ", "VBP")
    return verb.dep_ == "conj" and finite and verb.head.pos_ not in ("VERB", "AUX")


def relative_role(clause: Token) -> Literal["subject", "owner", "place", "object", ""]:
    """Return what the noun of a relative clause is in it, or "" if it must stay with its noun."""
    for token in clause.subtree:
        if token.tag_ not in ("WDT", "WP", "WP$", "WRB") or token.i > clause.i:
            continue
        if token.dep_ in ("nsubj", "nsubjpass") and token.head == clause:
            return "subject"
        if token.tag_ == "WP$" and token.head.head == clause and token.head.dep_.startswith("nsub"):
            return "owner"
        if token.lower_ == "where" and clause.head.pos_ == "PROPN":
            return "place"
        if token.dep_ == "dobj" and token.head == clause:
            return "object"
        return ""
    return ""


def _is_listed(token: Token) -> bool:
    """True for a member of a list that the parser took for an apposition: "Vogue, Elle and GQ".

    "a writer and actor" behind a name describes it; a list has no "a" before its second member.
    """
    if token.dep_ != "appos" or token.nbor(-1).text == ":":
        return False
    article = any(child.lower_ in ("a", "an") for child in token.children)
    if article or (token.pos_ == "NUM") != (token.head.pos_ == "NUM"):
        return False
    if any(child.dep_ == "conj" for child in token.children):
        return not _is_name(token) or _is_name(token.head)
    others = [c for c in token.head.children if c.dep_ in ("appos", "conj") and c != token]
    names = _is_name(token) and _is_name(token.head) and any(_is_name(c) for c in others)
    return names or token.pos_ == token.head.pos_ == "NUM"


def _is_name(token: Token) -> bool:
    """True for a capitalised noun, whatever the tagger says."""
    return token.pos_ in NOUNS and token.text[:1].isupper()


def _set_off(token: Token) -> bool:
    """True if punctuation stands before a description."""
    start = min(word.i for word in token.subtree)
    return start > 0 and token.doc[start - 1].text in (",", "(", "–", "—", "-", ":", ";")


def _is_place_part(token: Token) -> bool:
    """True for the second part of a place or title: "Pensacola, Florida", "Hamlet (film)"."""
    if token.pos_ == "NUM" or _in_one_entity(token, token.head):
        return True  # "August 11, 2010", "five years, seven months"
    bare = token.pos_ == "PROPN" and not any(c.dep_ in ("det", "poss") for c in token.children)
    places = token.ent_type_ in ("GPE", "LOC") or token.head.ent_type_ in ("GPE", "LOC")
    return bare and (places or token.head.dep_ == "pobj") and token.head.pos_ == "PROPN"


def _in_one_entity(one: Token, other: Token) -> bool:
    first, last = sorted((one.i, other.i))
    return any(ent.start <= first and last < ent.end for ent in one.doc.ents)


def _singled_out(head: Token) -> bool:
    return any(
        child.lower_ in _SINGLING_OUT or child.tag_ in ("JJS", "RBS") for child in head.children
    )


def conjuncts(token: Token) -> list[Token]:
    """Return a word and the members of its coordination, in order."""
    members = [token]
    for member in members:
        members += [
            child
            for child in member.children
            if child not in members
            and ((child.dep_ == "conj" and _alike(token, child)) or _is_listed(child))
        ]
    return sorted(members, key=lambda member: member.i)


def _alike(first: Token, second: Token) -> bool:
    same = first.pos_ == second.pos_
    return same or (first.pos_ in NOUNS and second.pos_ in NOUNS)


class PhraseReader:
    """Reads phrases of one sentence.

    Args:
        moved: positions of words that were attached elsewhere by a repair, by their new head.
    """

    def __init__(self, moved: dict[int, list[Token]] | None = None) -> None:
        self.moved = moved or {}

    def members(self, token: Token) -> list[Token]:
        """Return the members of a coordination, with those that a repair moved there."""
        members = conjuncts(token)
        for late in self.moved.get(token.i, []):
            members += [member for member in conjuncts(late) if member not in members]
        return sorted(members, key=lambda member: member.i)

    def whole(self, token: Token) -> frozenset[int]:
        """Return the phrase under a word, coordinations included, describing clauses excluded."""
        found = {token.i}
        for child in [*token.children, *self.moved.get(token.i, [])]:
            if not self._left_out(child):
                found |= self.whole(child)
        return frozenset(found)

    def variants(self, token: Token) -> list[frozenset[int]]:
        """Return the phrase under a word once per combination of coordinated members."""
        lists = [child for child in token.children if is_example_list(child)]
        if lists and token.pos_ in NOUNS:
            return self._with_examples(token, lists)
        members = self.members(token) if token.pos_ in NOUNS | {"ADJ"} else [token]
        if len(members) == 1 or not _divisible(members):
            return self._single(token, frozenset())
        found = []
        for place, member in enumerate(members):
            found += [
                variant | self._shared(members, place) for variant in self._single(member, members)
            ]
        return found if len(found) <= MAX_VARIANTS else [self.whole(token)]

    def _with_examples(self, token: Token, lists: Sequence[Token]) -> list[frozenset[int]]:
        """Return "films" and each example of "films such as A and B" instead of it."""
        listed = {word.i for child in lists for word in child.subtree}
        found = [self.whole(token) - listed]
        for child in lists:
            for example in child.children:
                if example.dep_ in ("pobj", "pcomp"):
                    found += self.variants(example)
        return found

    def with_shorter(self, variants: Iterable[frozenset[int]], doc: Doc) -> list[frozenset[int]]:
        """Return variants and, before each, what is left without phrases like "in drama".

        "a degree in drama" states that there is a degree. "of" belongs to its noun.
        """
        found: list[frozenset[int]] = []
        for variant in variants:
            extra: set[int] = set()
            for position in variant:
                token = doc[position]
                kept = token.lower_ in ("of", "as", "than", "between")
                noun = token.head.pos_ in NOUNS and token.head.lemma_ not in _KEPT_WITH
                if token.dep_ == "prep" and noun and not kept:
                    extra |= {word.i for word in token.subtree}
            shorter = frozenset(variant - extra)
            found += [one for one in (shorter, variant) if one not in found]
        return found if len(found) <= MAX_VARIANTS else list(variants)

    def brief(self, token: Token) -> frozenset[int]:
        """Return the whole phrase without examples and phrases like "in drama"."""
        listed = {
            word.i for child in token.children if is_example_list(child) for word in child.subtree
        }
        return self.with_shorter([self.whole(token) - listed], token.doc)[0]

    def _single(self, token: Token, members: Iterable[Token]) -> list[frozenset[int]]:
        """Return the variants of one member of a coordination, without the others."""
        others = {member.i for member in members}
        options: list[list[frozenset[int]]] = []
        coordinated = bool(others)
        for child in token.children:
            if child.i in others or self._left_out(child):
                continue
            if coordinated and child.dep_ in ("cc", "preconj", "punct"):
                continue
            options.append(self.variants(child) if child.dep_ != "punct" else [self.whole(child)])
        product = itertools.islice(itertools.product(*options), MAX_VARIANTS + 1)
        found = [frozenset({token.i}).union(*parts) for parts in product]
        return found if len(found) <= MAX_VARIANTS else [self.whole(token)]

    def _shared(self, members: Sequence[Token], place: int) -> frozenset[int]:
        """Return words of other members that belong to this one too: articles, adjectives, "of".

        "an American actress and singer" is "an American singer" as well; "the founder and CEO of
        Apple" is "the founder of Apple" as well.
        """
        first, member, last = members[0], members[place], members[-1]
        shared: set[int] = set()
        common = member.pos_ == "NOUN" and first.pos_ == "NOUN"
        if member is not first and common and not _has(member, _LEFT):
            for child in first.children:
                if child.dep_ in _LEFT and child.i < first.i:
                    shared |= self.whole(child)
        plain = common and not any(child.i > member.i for child in _content(member))
        if member is not last and plain and last.pos_ == "NOUN" and not _has(last, _LEFT):
            for child in last.children:
                if child.dep_ == "prep" and child.lower_ in ("of", "for", "at"):
                    shared |= self.whole(child)
        return frozenset(shared)

    def _left_out(self, child: Token) -> bool:
        second = child.dep_ == "conj" and child.pos_ == child.head.pos_ == "ADP"
        joined = child.dep_ == "cc" and child.head.pos_ == "ADP"
        if describes(child) or belongs_to_birth(child):
            return True
        if is_late_place(child) or is_joined_verb(child):
            return True
        return second or joined or child.dep_ in ("parataxis", "meta")

    def described(self, positions: Iterable[int], doc: Doc) -> Iterator[tuple[Token, Token]]:
        """Yield the nouns of a phrase that a clause or apposition describes, with its head word."""
        for position in sorted(positions):
            for child in doc[position].children:
                noun = _described_noun(doc[position], child) if describes(child) else None
                if noun is not None:
                    yield noun, child


def _described_noun(head: Token, description: Token) -> Token | None:
    """Return the noun that an apposition belongs to: the one before it if a verb is between."""
    if description.dep_ == "appos":
        start = min(word.i for word in description.subtree)
        between = head.doc[head.i : start]
        before = head.doc[max(0, start - 2)]
        if any(token.pos_ in ("VERB", "AUX") for token in between):
            return before if before.pos_ in NOUNS else None
    return head


def _divisible(members: Sequence[Token]) -> bool:
    """True if the members of a coordination can each stand alone.

    "Fast & Furious" and "Trinidad and Tobago" are one name. Of words before a noun, only pairs are
    divided, because parsers often err in longer lists of them.
    """
    first, last = members[0], members[-1]
    between = first.doc[first.i : last.i + 1]
    if any(token.text == "&" for token in between):
        return False
    if _in_one_entity(first, last):
        return False
    return first.dep_ not in ("amod", "compound", "nmod") or len(members) == 2


def _has(token: Token, labels: frozenset[str]) -> bool:
    return any(child.dep_ in labels and child.i < token.i for child in token.children)


def _content(token: Token) -> list[Token]:
    """Return the children of a member that are no part of the coordination itself."""
    return [child for child in token.children if child.dep_ not in ("punct", "cc", "conj")]


def words_of(positions: Iterable[int], doc: Doc) -> str:
    """Return the text of the words at these positions.

    Punctuation stays only between words that both stay. "a" and "an" follow the next word.
    ``doc.user_data`` maps positions to brackets that follow the word.
    """
    kept = sorted(positions)
    members = set(kept)
    for position in kept:
        token = doc[position]
        edge = position - 1 not in members or position + 1 not in members
        mark = token.is_punct and token.text not in ('"', "'", "%")
        if edge and (mark or token.dep_ in ("cc", "preconj")):
            members.discard(position)
    parts = []
    for position in sorted(members):
        token = doc[position]
        text = token.text + doc.user_data.get(position, "")
        parts.append(text + (token.whitespace_ if position + 1 in members else " "))
    return _articles(" ".join("".join(parts).split()))


def _articles(text: str) -> str:
    words = text.split(" ")
    for place, word in enumerate(words[:-1]):
        if word in ("a", "an", "A", "An") and words[place + 1][:1].isalpha():
            following = words[place + 1].lower()
            vowel = following[0] in "aeiou" and not following.startswith(("uni", "eu", "one", "us"))
            words[place] = word[0] + ("n" if vowel or following.startswith("hono") else "")
    return " ".join(words)
