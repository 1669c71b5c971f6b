"""Answer questions about the verbs and nouns of a dependency parse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lacy.factscore.phrases import NOUNS

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

Form = Literal["finite", "ing", "participle"]
"""How a verb is written: as it stands, an -ing form made finite, or a participle after "was"."""

SUBJECTS = frozenset({"nsubj", "nsubjpass", "csubj", "csubjpass", "expl"})

_SIDE_BY_SIDE = frozenset({"although", "though", "while", "whereas"})
"""Conjunctions of clauses that are true on their own."""

_PLURAL = frozenset({"they", "we", "these", "those", "both", "some", "many"})


def grammatical_subject(verb: Token) -> Token | None:
    """Return the subject of a verb; some parses attach it to the auxiliary."""
    near = [verb, *(child for child in verb.children if child.dep_ in ("aux", "auxpass"))]
    return next((c for token in near for c in token.children if c.dep_ in SUBJECTS), None)


def is_relative(noun: Token) -> bool:
    """True for "who", "which", and "whose mother"."""
    return noun.tag_ in ("WDT", "WP") or any(child.tag_ == "WP$" for child in noun.children)


def is_own_clause(clause: Token) -> bool:
    """True for an adverbial clause that is a fact by itself: "..., winning two medals"."""
    marks = [child.lower_ for child in clause.children if child.dep_ in ("mark", "advmod")]
    if any(mark in _SIDE_BY_SIDE for mark in marks):
        return True
    if clause.lemma_ == "make" and any(child.dep_ == "ccomp" for child in clause.children):
        return False  # "..., making him the youngest winner" has no subject of its own
    infinitive = any(child.tag_ == "TO" for child in clause.children)
    if any(child.dep_ == "mark" or child.tag_ == "WRB" for child in clause.children) or infinitive:
        return False
    return clause.tag_ in ("VBG", "VBN")


def is_joined_sentence(verb: Token, child: Token) -> bool:
    """True for the first of two sentences joined by a comma or semicolon."""
    return child.dep_ in ("ccomp", "parataxis") and child.i < verb.i and has_subject(child)


def object_of_next_verb(verb: Token) -> list[Token]:
    """Return the film of "wrote and directed a film" for "wrote"."""
    for child in verb.children:
        near = child.dep_ == "conj" and child.pos_ == "VERB" and 0 < child.i - verb.i <= 3
        if near and not has_subject(child):
            return [each for each in child.children if each.dep_ == "dobj"]
    return []


def form_of(verb: Token, otherwise: Form) -> Form:
    """Return how a verb without a subject of its own is to be written."""
    if any(child.dep_ in ("aux", "auxpass") for child in verb.children):
        return "finite"
    if verb.tag_ == "VBG":
        return "ing"
    return "participle" if verb.tag_ == "VBN" else otherwise


def has_subject(verb: Token) -> bool:
    """True if a verb has a subject of its own."""
    return grammatical_subject(verb) is not None


def is_plural(noun: Token) -> bool:
    """True if a noun's verb is plural."""
    several = any(child.dep_ == "conj" for child in noun.children)
    return several or noun.tag_ == "NNS" or noun.lower_ in _PLURAL


def is_past(root: Token) -> bool:
    """True if a sentence tells of the past."""
    verbs = [root, *(child for child in root.children if child.dep_ in ("aux", "auxpass"))]
    return any(verb.tag_ == "VBD" or verb.lower_ in ("has", "have", "had") for verb in verbs)


def moved_nouns(span: Span) -> dict[int, list[Token]]:
    """Attach nouns that the parser joined to a verb ("appeared in films, shows") to a noun.

    Returns:
        The moved words by the position of their new head.
    """
    moved: dict[int, list[Token]] = {}
    for token in span:
        if token.dep_ != "conj" or token.pos_ not in NOUNS or token.head.pos_ in NOUNS:
            continue
        before = [
            noun
            for noun in span.doc[token.head.i + 1 : token.i]
            if noun.pos_ in NOUNS and noun.dep_ in ("pobj", "dobj", "attr")
        ]
        if before:
            moved.setdefault(before[-1].i, []).append(token)
    return moved
