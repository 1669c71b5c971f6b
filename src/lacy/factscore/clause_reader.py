"""Read the clauses of a parsed sentence as facts of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lacy.factscore.parses import (
    SUBJECTS,
    Form,
    form_of,
    grammatical_subject,
    is_joined_sentence,
    is_own_clause,
    is_past,
    is_plural,
    is_relative,
    moved_nouns,
    object_of_next_verb,
)
from lacy.factscore.phrases import (
    PhraseReader,
    belongs_to_birth,
    is_example_list,
    is_joined_verb,
    is_late_place,
    relative_role,
    words_of,
)
from lacy.factscore.verbs import past_tense

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

_OBJECTS = frozenset({"dobj", "attr", "acomp", "oprd", "ccomp"})
_AROUND = frozenset({"aux", "auxpass", "neg"})
_AFTER = frozenset({"prt", "dative"})
_VERBS = frozenset({"VERB", "AUX"})
_MODIFIERS = frozenset({"prep", "agent", "npadvmod", "advmod", "advcl", "tmod"})

_OWN_PLACES = frozenset({"bear", "die"})
"""Verbs whose date and place are separate facts."""

_CONNECTING = frozenset(
    "also however additionally furthermore moreover therefore thus then consequently meanwhile"
    " overall finally currently notably instead eventually subsequently".split()
)
"""Adverbs that connect sentences and are no part of a fact."""

_CONNECTING_PHRASES = (
    "in addition to", "aside from", "apart from", "besides", "along with", "as well as",
    "according to", "in addition", "for example", "for instance", "as of", "in fact", "of course",
)  # fmt: skip
"""Phrases at the beginning of a sentence that connect it to the previous one."""

_TIME = re.compile(
    r"\b(?:\d{3,4}s?|century|centuries|years?|age|january|february|march|april|may|june|july|august"
    r"|september|october|november|december)\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"^(?:most )?(?:notably|particularly|especially|specifically) ")


@dataclass(frozen=True, slots=True)
class _Subject:
    """The subject of a clause as text, and whether its verb is plural."""

    text: str
    plural: bool = False


@dataclass(frozen=True, slots=True)
class _Modifier:
    """A time, place or other phrase that can follow a verb."""

    whole: str
    variants: tuple[str, ...]
    time: bool
    after: bool = True
    """True if it follows the verb."""
    first: str = ""
    """Its first word if it is a preposition."""
    examples: bool = False
    """True if the variants are examples of an object before it: "awards, including A and B"."""


@dataclass(frozen=True, slots=True)
class _Predicate:
    """A verb with its objects: the text, one text per coordinated object, and its modifiers."""

    start: str
    """The text without objects."""
    whole: str
    variants: tuple[str, ...]
    complete: bool
    modifiers: tuple[_Modifier, ...]


class ClauseReader:
    """Reads the facts of one parsed sentence.

    Args:
        span: the sentence; its root must be a verb.
    """

    def __init__(self, span: Span) -> None:
        self._doc, self._root = span.doc, span.root
        self._phrases = PhraseReader(moved_nouns(span))
        self._past = is_past(span.root)
        self._facts: list[str] = []
        self._described: set[int] = set()

    def facts(self) -> list[str]:
        """Return the facts, without final periods; empty if no clause has a subject."""
        self._clause(self._root, None, "finite")
        return self._facts

    def _add(self, *parts: str) -> None:
        text = " ".join(part for part in parts if part).strip(" ,;:")
        if len(text.split()) > 2:
            self._facts.append(text[0].upper() + text[1:])

    def _text(self, positions: Iterable[int]) -> str:
        positions = set(positions)
        text = words_of(positions, self._doc)
        first = self._doc[min(positions)] if positions else None
        if first is not None and first.is_sent_start and first.pos_ not in ("PROPN", "PRON"):
            return text[:1].lower() + text[1:] if not first.ent_type_ else text
        return text

    def _clause(
        self,
        verb: Token,
        given: _Subject | None,
        form: Form,
        *,
        aux: str = "",
        thing: str = "",
        end: str = "",
    ) -> None:
        """Add the facts of a clause.

        Args:
            verb: its verb.
            given: the subject if it has none of its own.
            form: how the verb is written.
            aux: auxiliary verbs to put before it.
            thing: its object if that stands elsewhere.
            end: text to put behind each fact.
        """
        own = grammatical_subject(verb)
        subject = given
        used: set[int] = set()
        relative = own is None or is_relative(own)
        if own is not None and not relative and (given is None or form == "finite"):
            positions = self._phrases.whole(own)
            used |= positions
            subject = _Subject(self._text(positions), is_plural(own))
        if subject is None:
            return
        predicate = self._predicate(verb, subject, form, aux, used, thing)
        self._state(subject, predicate, end, verb.lemma_.lower() in _OWN_PLACES)
        for noun, clause in list(self._phrases.described(used, self._doc)):
            self._description(noun, clause, subject)
        for child in verb.children:
            self._further(verb, child, subject, form, aux)
        for position in sorted(used):
            for child in self._doc[position].children:
                if is_joined_verb(child):
                    self._clause(child, subject, "finite")

    def _state(self, subject: _Subject, predicate: _Predicate, end: str, separate: bool) -> None:
        """Add one fact per object, and one per modifier of the verb."""
        examples = [m for m in predicate.modifiers if m.examples]
        modifiers = [m for m in predicate.modifiers if not m.examples]
        base, start = predicate.whole, predicate.start
        if predicate.complete:
            for variant in predicate.variants:
                self._add(subject.text, variant, end)
        elif not separate:
            # The first phrase that is no time belongs to the verb: "served as mayor".
            first = next((m for m in modifiers if m.after and not m.time), None)
            if first is not None:
                modifiers.remove(first)
                for variant in first.variants:
                    self._add(subject.text, base, variant, end)
                start = f"{base} {first.first}"
                base = f"{base} {first.whole}"
            elif not modifiers or end:
                self._add(subject.text, base, end)
        for example in examples:
            for variant in example.variants:
                self._add(subject.text, start, variant, end)
        for modifier in modifiers:
            for variant in modifier.variants:
                self._add(subject.text, base, variant, end)

    def _predicate(
        self,
        verb: Token,
        subject: _Subject,
        form: Form,
        aux: str,
        used: set[int],
        thing: str = "",
    ) -> _Predicate:
        """Read a verb with what belongs to it; add the positions of its phrases to ``used``."""
        before: list[Token] = []
        after: list[Token] = []
        objects: list[Token] = []
        modifiers: list[_Modifier] = []
        inner: _Predicate | None = None
        for child in verb.children:
            if child.dep_ in _AROUND or self._is_close_adverb(child, verb):
                (before if child.i < verb.i else after).append(child)
            elif child.dep_ in _AFTER:
                after.append(child)
            elif is_joined_sentence(verb, child):
                continue
            elif child.dep_ in _OBJECTS and child.tag_ not in ("WDT", "WP"):
                objects.append(child)
            elif child.dep_ == "xcomp":
                inner = self._predicate(child, subject, "finite", "", used)
            elif child.dep_ in _MODIFIERS:
                modifiers += self._modifiers(child, used)
        if verb.lower_ == "born" and verb.dep_ == "acl":
            for child in verb.head.children:
                if belongs_to_birth(child):
                    modifiers += self._modifiers(child, used)
        for token in [self._doc[position] for position in sorted(used)]:
            for child in token.children:
                if is_late_place(child) and child.head.head.head == verb:
                    modifiers += self._modifiers(child, used)
        if not objects and not modifiers:
            objects = object_of_next_verb(verb)
        verb_text = self._verb_text(verb, subject, form, [token.i for token in before], aux)
        start = " ".join(
            part for part in (verb_text, thing, self._text_of_all(after, used)) if part
        )
        wholes = [self._phrases.whole(token) for token in objects]
        used.update(*wholes)
        whole = " ".join([start, *(self._text(self._phrases.brief(token)) for token in objects)])
        texts = [start]
        if len([token for token in objects if token.dep_ == "dobj"]) > 1:  # a list
            variants = [v for token in objects for v in self._phrases.variants(token)]
            texts = [f"{start} {self._text(variant)}" for variant in variants]
        elif objects:
            rest = " ".join(map(self._text, wholes[1:]))
            variants = self._phrases.variants(objects[0])
            variants = self._phrases.with_shorter(variants, self._doc)
            texts = [f"{start} {self._text(variant)} {rest}".strip() for variant in variants]
        if inner is not None:
            texts = [f"{text} {v}" for text in texts for v in inner.variants]
            whole = f"{whole} {inner.whole}"
            modifiers += inner.modifiers
        complete = bool(objects or thing) or (inner is not None and inner.complete)
        return _Predicate(start, whole, tuple(texts), complete, tuple(modifiers))

    def _text_of_all(self, tokens: list[Token], used: set[int]) -> str:
        positions = set[int]().union(*(self._phrases.whole(token) for token in tokens))
        used |= positions
        return self._text(positions)

    def _is_close_adverb(self, child: Token, verb: Token) -> bool:
        """True for an adverb next to its verb ("best known", "never married")."""
        if child.dep_ != "advmod" or child.lower_ in _CONNECTING or child.tag_ == "WRB":
            return False
        return child.i < verb.i and not any(
            token.dep_ in SUBJECTS for token in self._doc[child.i : verb.i] if token.head == verb
        )

    def _verb_text(
        self, verb: Token, subject: _Subject, form: Form, before: list[int], aux: str
    ) -> str:
        phrase = words_of(before, self._doc)
        if form == "finite" and verb.dep_ in ("advcl", "pcomp", "conj"):
            have = "had" if self._past else ("have" if subject.plural else "has")
            phrase = re.sub(r"^having\b", have, phrase)
        be = ("were" if subject.plural else "was") if self._past else (
            "are" if subject.plural else "is"
        )  # fmt: skip
        if form == "participle":
            be = ("were" if subject.plural else "was") if verb.lemma_ == "bear" else be
            parts = [be, phrase, verb.text.lower()]
        elif form == "ing" and self._past:
            parts = [phrase, past_tense(verb.lemma_)]
        elif form == "ing":
            parts = [be, phrase, verb.text.lower()]
        else:
            own_aux = any(child.dep_ in ("aux", "auxpass") for child in verb.children)
            parts = ["" if own_aux else aux, phrase, verb.text]
        return " ".join(part for part in parts if part)

    def _modifiers(self, child: Token, used: set[int]) -> Iterator[_Modifier]:
        """Yield the phrases of a modifier; coordinated prepositions are separate ones."""
        if (child.dep_ == "advmod" and child.lower_ in _CONNECTING) or child.tag_ == "WRB":
            return
        if child.dep_ == "advcl" and is_own_clause(child):
            return
        positions = self._phrases.whole(child)
        whole = self._text(positions)
        after = child.i > child.head.i
        if not after and whole.lower().startswith(_CONNECTING_PHRASES):
            return
        used |= positions
        if child.dep_ == "advcl":
            yield _Modifier(whole, (whole,), True, after)
            return
        if is_example_list(child):
            inner = [each for each in child.children if each.dep_ in ("pobj", "pcomp")]
            listed = [self._text(v) for each in inner for v in self._phrases.variants(each)]
            yield _Modifier(whole, tuple(listed), False, after, examples=True)
            return
        found = self._phrases.variants(child)
        if child.dep_ == "prep":
            found = self._phrases.with_shorter(found, self._doc)
            whole = self._text(self._phrases.brief(child))
        variants = tuple(self._text(variant) for variant in found)
        time = bool(_TIME.search(whole)) or child.dep_ in ("npadvmod", "advmod", "tmod")
        time = time or child.lower_ in ("after", "before", "while", "during", "since", "until")
        yield _Modifier(whole, variants, time, after, child.text)
        for other in child.children:
            if other.dep_ == "conj" and other.pos_ == child.pos_ == "ADP":
                yield from self._modifiers(other, used)

    def _further(self, verb: Token, child: Token, subject: _Subject, form: Form, aux: str) -> None:
        """Add the facts of clauses that are joined to a verb."""
        if child.dep_ == "conj" and child.pos_ in _VERBS:
            bare = child.tag_ == "VBG" and form_of(child, "finite") == "ing"
            if bare and verb.tag_ != "VBG":
                return  # "known for his speed, passing range": a noun that looks like a verb
            shared = self._aux_of(verb) or aux
            same = child.tag_ == verb.tag_
            self._clause(
                child, subject, form if same else form_of(child, "finite"), aux=shared * same
            )
        elif child.dep_ == "advcl" and is_own_clause(child):
            self._clause(child, subject, form_of(child, "finite"))
        elif child.dep_ == "prep" and child.lower_ in ("after", "before", "while"):
            for inner in child.children:
                if inner.dep_ == "pcomp" and inner.tag_ == "VBG" and self._past:
                    self._clause(inner, subject, "ing")
        elif is_joined_sentence(verb, child):
            self._clause(child, None, "finite")

    def _aux_of(self, verb: Token) -> str:
        positions = [child.i for child in verb.children if child.dep_ in _AROUND]
        return words_of(positions, self._doc)

    def _description(self, noun: Token, clause: Token, subject: _Subject) -> None:
        """Add what a relative clause, participle or apposition says about its noun."""
        if clause.i in self._described:
            return
        self._described.add(clause.i)
        described = subject
        first = noun
        while first.dep_ == "conj" and first.head.pos_ in ("NOUN", "PROPN"):
            first = first.head
        same = first.dep_ == "attr" and noun.pos_ != "PROPN" and clause.dep_ != "appos"
        if not same:
            text = re.sub(r"^(?:an?|another) ", "the ", self._text(self._phrases.whole(noun)))
            described = _Subject(text, is_plural(noun))
        if clause.dep_ == "appos":
            be = ("were" if described.plural else "was") if self._past else (
                "are" if described.plural else "is"
            )  # fmt: skip
            listed = self._doc[min(token.i for token in clause.subtree) - 1].text == ":"
            for variant in self._phrases.variants(clause):
                text = self._text(variant)
                example = _EXAMPLE.sub("", text)
                verb = "include" if listed or example != text else be
                self._add(described.text, verb, example)
            whole = self._phrases.whole(clause)
            for inner, further in list(self._phrases.described(whole, self._doc)):
                self._description(inner, further, described)
            return
        if clause.dep_ == "acl":
            self._clause(clause, described, form_of(clause, "participle"))
            return
        role = relative_role(clause)
        if role == "subject":
            self._clause(clause, replace(described, plural=is_plural(noun)), "finite")
        elif role == "owner":
            owned = next(child for child in clause.children if child.dep_.startswith("nsubj"))
            rest = [i for i in self._phrases.whole(owned) if self._doc[i].tag_ != "WP$"]
            text = f"{described.text}'s {words_of(rest, self._doc)}"
            self._clause(clause, _Subject(text, is_plural(owned)), "finite")
        elif role == "place":
            end = f"{'in' if noun.ent_type_ in ('GPE', 'LOC') else 'at'} {described.text}"
            self._clause(clause, None, "finite", end=end)
        elif role == "object":
            self._clause(clause, None, "finite", thing=described.text)
