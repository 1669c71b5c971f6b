"""Read questions from files, and write them; facts that questions give as a database."""

from __future__ import annotations

import gzip
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.evaluate.questions import TestQuestion, normal_form

_FILE = resources.files(__package__) / "entity_questions.toml"
ENTITY_QUESTIONS: Mapping[str, tuple[str, str]] = {
    name: (relation, template)
    for name, (relation, template) in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()
}
"""EntityQuestions' relations: name and template of each Wikidata property."""


def read_questions(path: str | Path) -> list[TestQuestion]:
    """Read questions from a ``.json`` list or a ``.jsonl`` file, also gzipped, or a folder of them.

    Fields: ``question``; ``answers`` (or ``possible_answers``, ``answer``); optionally ``subject``
    (or ``subj``), ``relation`` (``prop``), ``popularity`` (``s_pop``), ``facts`` (an object with a
    value or a list of values per relation) and ``paragraphs`` (texts, or objects with ``title`` and
    ``text``). Files of PopQA and EntityQuestions can be read as they are. In a file such as
    ``P19.dev.json`` of EntityQuestions, questions without subject and relation get them by the
    relation's template. The questions of several files alternate, so that the first hundred are of
    all relations.

    Raises:
        LacyError: E187, the file cannot be read or a line is no question.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        names = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
        files = sorted(file for file in path.iterdir() if file.name.endswith(names))
    parts = [list(_questions_of(file)) for file in files]
    rounds = itertools.zip_longest(*parts)
    questions = [question for some in rounds for question in some if question is not None]
    if not questions:
        raise LacyError("E187", path=path, why="it has no questions")
    return questions


def _questions_of(path: Path) -> Iterator[TestQuestion]:
    """Yield the questions of one file."""
    relation, template = ENTITY_QUESTIONS.get(path.name.split(".")[0], ("", ""))
    before, _, after = template.partition("{}")
    for number, row in _rows(path):
        try:
            question = _question(row)
        except (KeyError, TypeError, ValueError) as error:
            why = f"question {number}: {error if str(error) else type(error).__name__}"
            raise LacyError("E187", path=path, why=why) from error
        text = question.text
        if relation and not question.relation and not question.subject:
            fits = text.startswith(before) and text.endswith(after)
            subject = text[len(before) : len(text) - len(after)].strip() if fits else ""
            question = replace(question, relation=relation, subject=subject)
        yield question


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            if ".json" in path.suffixes:
                yield from enumerate(parse_json(file.read()), 1)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, parse_json(line)
    except (OSError, ValueError, TypeError) as error:
        raise LacyError("E187", path=path, why=str(error)) from error


def _question(row: Mapping[str, Any]) -> TestQuestion:
    def first(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) is not None), None)

    answers = first("answers", "possible_answers", "answer")
    if isinstance(answers, str):
        answers = parse_json(answers) if answers.lstrip().startswith("[") else [answers]
    texts = tuple(str(answer) for answer in answers or () if normal_form(str(answer)))
    question = row["question"]
    if not (isinstance(question, str) and question.strip() and texts):
        raise ValueError("it needs the fields question and answers")
    facts = row.get("facts") or {}
    paragraphs = row.get("paragraphs") or ()
    popularity = first("popularity", "s_pop")
    return TestQuestion(
        question.strip(),
        texts,
        str(first("subject", "subj") or ""),
        str(first("relation", "prop") or ""),
        None if popularity is None else float(popularity),
        tuple(
            (str(name), str(value))
            for name, values in facts.items()
            for value in (values if isinstance(values, list) else [values])
        ),
        tuple(
            (str(p.get("title") or ""), str(p["text"])) if isinstance(p, Mapping) else ("", str(p))
            for p in paragraphs
        ),
    )


def facts_database(questions: Sequence[TestQuestion], path: str | Path) -> Path:
    """Write the facts of questions with a subject to a SQLite table ``fact``; return its path."""
    import sqlite3
    from contextlib import closing

    rows = {(q.subject, *fact): None for q in questions if q.subject for fact in q.facts}
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", list(rows))
        db.execute("CREATE INDEX by_subject ON fact (subject)")
    return Path(path)


def write_questions(questions: Sequence[TestQuestion], path: str | Path) -> None:
    """Write questions as JSON lines that ``read_questions`` reads."""
    from lacy.run import write_atomic

    def row(q: TestQuestion) -> dict[str, Any]:
        facts: dict[str, list[str]] = {}
        for name, value in q.facts:
            facts.setdefault(name, []).append(value)
        paragraphs = [{"title": title, "text": text} for title, text in q.paragraphs]
        return {
            "question": q.text, "answers": q.answers, "subject": q.subject,
            "relation": q.relation, "popularity": q.popularity, "facts": facts,
            "paragraphs": paragraphs,
        }  # fmt: skip

    write_atomic(path, "".join(json.dumps(row(q), ensure_ascii=False) + "\n" for q in questions))


def with_own_facts(questions: Sequence[TestQuestion]) -> list[TestQuestion]:
    """Return questions with the fact that each asks for, from its subject, relation and answer.

    Questions that have facts keep them; those without a subject or relation are left out.
    """
    return [
        q if q.facts else replace(q, facts=((q.relation, q.answers[0]),))
        for q in questions
        if q.subject and q.relation
    ]
