"""Make triples of question, knowledge and answer: by rules, or by the black box; filter them.

The rules need no model: a table gives a question for each cell, and a text whose facts are marked
gives one for each value, which is blanked in its sentence. The black box writes triples about a
passage (BLADE's stage 2). Either way, the consistency filter keeps a triple only if the black box
answers its question right from its knowledge.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lacy.blade.asking import box_prompt
from lacy.blade.black_box import BlackBox, BoxPrompt
from lacy.blade.triples import LETTERS, Triple, is_right
from lacy.errors import LacyError
from lacy.factscore import split_sentences
from lacy.sources import relation_words
from lacy.sources.texts import subject_of
from lacy.types import Document, Mark

QUESTION, KNOWLEDGE = "What is the {relation} of {name}?", "The {relation} of {name} is {value}."
"""Default templates of a table."""

BLANK = "____"
"""Stands for the value in a sentence."""

WRITE = (
    "Write one question about a fact in this text, with the sentence of knowledge that answers it "
    "and the short answer. Use three lines that begin with Question:, Knowledge: and Answer:.\n\n"
    "Text: {text}\n"
)
PASSAGE_CHARACTERS, WRITE_TOKENS = 1_500, 160

_LINES = re.compile(
    r"Question:[ \t]*(?P<question>\S[^\n]*)\n+\s*Knowledge:[ \t]*(?P<knowledge>\S[^\n]*)\n+"
    r"\s*Answer:[ \t]*(?P<answer>\S[^\n]*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Filtered:
    """Triples after the consistency filter, and what happened to the others.

    Attributes:
        kept: the black box answers them right from their knowledge.
        wrong: number that it answers wrong.
        unanswered: number without a reply; the same call asks them again.
        without: of those that were kept, the number that it answers right without the knowledge,
            too; None if that was not asked.
    """

    kept: list[Triple]
    wrong: int
    unanswered: int
    without: int | None = None


def table_triples(
    rows: Iterable[Document],
    *,
    templates: Mapping[str, tuple[str, str]] | None = None,
    options: int = 0,
    seed: int = 0,
) -> list[Triple]:
    """Make a triple of each cell of a table.

    Args:
        rows: a document per row: its text is the name, its ``meta`` has the other columns.
        templates: question and knowledge by column, with ``{relation}``, ``{name}``, ``{value}``;
            columns without a template get the default ones, and with templates given, none.
        options: number of options per question, with values of other rows; 0 for open questions.
        seed: seed of the options.

    Raises:
        LacyError: E12, no such number of options, or a template has other fields or is of no
            column; E391, there is no cell, or a column has too few values for the options.
    """
    if options not in (0, *range(2, len(LETTERS) + 1)):
        do = f"give 2 to {len(LETTERS)}, or 0 for open questions"
        raise LacyError("E12", key="options", value=options, why="no such number", do=do)
    _require_fields(templates or {})
    every = list(rows)
    known = sorted({name for row in every for name in row.meta} - {"id"})
    for column in templates or {}:
        if every and column not in known:
            raise LacyError("E12", key="templates", value=column, why="there is no such column",
                            do=f"give templates of: {', '.join(known) or 'nothing'}")  # fmt: skip
    columns = list(templates or dict.fromkeys(name for row in every for name in row.meta))
    values: dict[str, list[str]] = {
        name: sorted({str(row.meta[name]).strip() for row in every if row.meta.get(name)} - {""})
        for name in columns
    }
    found, chance = [], random.Random(seed)
    for row in every:
        for column in columns:
            value = str(row.meta.get(column) or "").strip()
            if not value or column == "id":
                continue
            question, knowledge = (templates or {}).get(column, (QUESTION, KNOWLEDGE))
            words = {"relation": relation_words(column), "name": row.text.strip(), "value": value}
            chosen: tuple[str, ...] = ()
            if options:
                others = [one for one in values[column] if one != value]
                if len(others) < options - 1:
                    why = f"column {column} has {len(others) + 1} different values, fewer than"
                    raise LacyError("E391", path="the table", why=f"{why} {options} options")
                drawn = [*chance.sample(others, options - 1), value]
                chance.shuffle(drawn)
                chosen = tuple(drawn)
            found.append(
                Triple(question.format(**words), value, knowledge.format(**words), chosen,
                       subject=words["name"], source="table", id=f"{row.id}:{column}")
            )  # fmt: skip
    if not found:
        raise LacyError("E391", path="the table", why="it has no columns of values")
    return found


def text_triples(documents: Iterable[Document]) -> list[Triple]:
    """Make a triple of each marked value that stands alone in its sentence.

    The question is the sentence with a blank. Values that are a part of the subject's name, or that
    occur twice in the sentence, give no question.

    Args:
        documents: texts with marks; the subject is the title or the first name.

    Raises:
        LacyError: E391, no text has a value that can be asked for.
    """
    found: list[Triple] = []
    texts = marks = 0
    for document in documents:
        texts, marks = texts + 1, marks + len(document.marks)
        subject = subject_of(document)
        for sentence, value in _values(document):
            if value.lower() in subject.lower() or sentence.count(value) != 1:
                continue
            about = f" about {subject}" if subject and subject not in sentence else ""
            knowledge = f"{subject}: {sentence}" if about else sentence
            question = f"Which words are missing{about}? {sentence.replace(value, BLANK)}"
            found.append(
                Triple(question, value, knowledge, subject=subject, source="text",
                       id=f"{document.id}:{len(found)}")
            )  # fmt: skip
    if not found:
        why = f"{texts} texts have {marks} marked values" if texts else "there are no texts"
        raise LacyError("E391", path="the texts", why=why)
    return found


def written_triples(documents: Iterable[Document], box: BlackBox) -> tuple[list[Triple], int]:
    """Let the black box write a triple about each document.

    Returns:
        The triples, and the number of replies that were not three such lines.

    Raises:
        LacyError: E391, no reply could be used; E392, a cap is reached.
    """
    every = [one for one in documents if one.text.strip()]
    prompts = [
        BoxPrompt(WRITE.format(text=_passage(one.text)), WRITE_TOKENS, one_line=False)
        for one in every
    ]
    found, errors = [], list[str]()
    for document, reply in zip(every, box.ask(prompts), strict=True):
        errors += [reply.error] if reply.error else []
        if match := _LINES.search(reply.text):
            question, knowledge, answer = (part.strip() for part in match.groups())
            found.append(
                Triple(question, answer, knowledge, subject=subject_of(document), source=box.name,
                       id=document.id)
            )  # fmt: skip
    if not found:
        why = f"{len(every)} texts gave no question, knowledge and answer"
        why = errors[0] if errors else why
        raise LacyError("E391", path="the black box", why=why)
    return found, len(every) - len(found)


def consistent(
    triples: Sequence[Triple],
    box: BlackBox,
    *,
    examples: Sequence[Triple] = (),
    without: bool = False,
) -> Filtered:
    """Keep the triples whose question the black box answers right from their knowledge.

    Args:
        triples: the triples.
        box: the black box; answers in its file are not asked again.
        examples: examples that it reads first.
        without: also ask without the knowledge, to count what the black box knows already.

    Raises:
        LacyError: E391, none is left; E392, a cap is reached.
    """
    replies = box.ask([box_prompt(one, [one.knowledge], examples) for one in triples])
    pairs = list(zip(triples, replies, strict=True))
    kept = [one for one, reply in pairs if not reply.error and is_right(one, reply.text)]
    lost = [reply.error for _, reply in pairs if reply.error]
    if not kept:
        why = lost[0] if lost else "the black box answers none right from its knowledge"
        raise LacyError("E391", path="the consistency filter", why=why)
    known = None
    if without:
        plain = [replace(one, knowledge="") for one in examples]
        alone = box.ask([box_prompt(one, (), plain) for one in kept])
        known = sum(is_right(one, reply.text) for one, reply in zip(kept, alone, strict=True))
    return Filtered(kept, len(triples) - len(kept) - len(lost), len(lost), known)


def _require_fields(templates: Mapping[str, tuple[str, str]]) -> None:
    """Raise E12 for a template with other fields than relation, name and value."""
    for column, pair in templates.items():
        for text in pair:
            try:
                text.format(relation="", name="", value="")
            except (KeyError, IndexError, ValueError) as error:
                raise LacyError("E12", key=f"template of {column}", value=text, why="it has other "
                                "fields than {relation}, {name} and {value}",
                                do="use these, and write {{ for a brace") from error  # fmt: skip


def _passage(text: str) -> str:
    return " ".join(text.split())[:PASSAGE_CHARACTERS]


def _values(document: Document) -> Iterable[tuple[str, str]]:
    """Yield each marked value with its sentence."""
    by_sentence: dict[str, list[str]] = defaultdict(list)
    place = 0
    ranges = []
    for sentence in split_sentences(document.text):
        start = document.text.find(sentence, place)
        if start >= 0:
            place = start + len(sentence)
            ranges.append((start, place, sentence))
    for mark in _facts(document.marks):
        for start, end, sentence in ranges:
            if start <= mark.start and mark.end <= end:
                value = document.text[mark.start : mark.end].strip()
                if value and value not in by_sentence[sentence]:
                    by_sentence[sentence].append(value)
                    yield sentence, value


def _facts(marks: Iterable[Mark]) -> list[Mark]:
    return [mark for mark in marks if mark.reason != "CONTENT"]
