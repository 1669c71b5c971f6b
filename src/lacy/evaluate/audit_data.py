"""Read the facts and prompts of a deletion audit: LMLMAudit's files, or any facts database.

LMLMAudit (arXiv 2607.00605) audits whether a fact is forgotten once it is deleted from a database.
Its data are small databases (``base.json`` with ``triplets``) in several variants, each with
prompts in six forms (``prompts/base/prompts_cloze.jsonl``). For another database, prompts in the
same six forms are made from its facts.
"""

from __future__ import annotations

import gzip
import random
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.evaluate.audit_facts import FORMS, AuditedDatabase, AuditFact, Row
from lacy.evaluate.questions import normal_form

if TYPE_CHECKING:
    from lacy.sources import Database

_MOST_BYTES = 50_000_000
"""Maximum size of one file of the data."""

_FEWSHOT = (
    "Answer the final question with a short factual phrase.\n\n"
    "Question: Where was Ada Lovelace born?\nAnswer: London\n\n"
    "Question: In what year was Pride and Prejudice published?\nAnswer: 1813\n\n"
)
"""The examples of LMLMAudit's few-shot prompts."""


def read_audit(
    path: str | Path, *, facts: int | None = None, seed: int = 0
) -> list[AuditedDatabase]:
    """Read all databases of an audit.

    Args:
        path: a folder, ``.tar.gz`` or ``.json`` file of LMLMAudit's data, or a facts database (any
            that ``--source`` opens); for this, prompts are made.
        facts: maximum number of facts per database, sampled at random; None for all.
        seed: seed of the sample.

    Raises:
        LacyError: E234, the data cannot be read; E235, there is nothing to audit.
    """
    path = Path(path)
    if (path.is_dir() and not (path / "truth.sqlite").is_file()) or path.suffix == ".json":
        found = _databases(path, _files_in(path))
    elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
        with _files_of_archive(path) as files:
            found = _databases(path, files)
    else:
        found = [_facts_database(path, facts, seed)]
    if not any(database.facts for database in found):
        why = "no database (.json with triplets) that has prompts beside it (prompts/*.jsonl)"
        raise LacyError("E235", path=path, why=why)
    return [database.sample(facts, seed) for database in found]


# ------------------------------------------------------------------------------- LMLMAudit's files


_Files = Mapping[PurePosixPath, Callable[[], str]]
"""The files of the data: a function that reads each."""


def _files_in(path: Path) -> _Files:
    if path.is_dir():
        found = sorted((*path.rglob("*.json"), *path.rglob("*.jsonl"), *path.rglob("*.jsonl.gz")))
        root = path
    else:
        root = path.parent
        found = [path, *sorted(root.glob("prompts/**/*.jsonl"))]
    return {
        PurePosixPath(file.relative_to(root).as_posix()): partial(_text_of, file) for file in found
    }


def _text_of(file: Path) -> str:
    """Return a file's text.

    Raises:
        LacyError: E234, it cannot be read.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES // 1_000_000} MB")
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return data.decode("utf-8")
    except (OSError, EOFError, ValueError) as error:
        raise LacyError("E234", path=file, why=str(error)) from error


@contextmanager
def _files_of_archive(path: Path) -> Iterator[_Files]:
    """Yield the files of an archive, which is read member by member and never unpacked.

    Raises:
        LacyError: E234, it is no archive.
    """
    try:
        with tarfile.open(path) as archive:

            def text_of(member: tarfile.TarInfo) -> str:
                file = archive.extractfile(member)
                if file is None or member.size > _MOST_BYTES:
                    raise LacyError("E234", path=f"{path}: {member.name}", why="it is too large")
                return file.read().decode("utf-8", errors="replace")

            yield {
                PurePosixPath(member.name): partial(text_of, member)
                for member in archive
                if member.isfile() and member.name.endswith((".json", ".jsonl"))
            }
    except (OSError, EOFError, tarfile.TarError) as error:
        raise LacyError("E234", path=path, why=str(error)) from error


def _databases(path: Path, files: _Files) -> list[AuditedDatabase]:
    """Return all databases that have prompts."""
    found = []
    for file, read in files.items():
        if file.suffix != ".json":
            continue
        folder = file.parent / "prompts"
        own = folder / file.stem
        prompts = {
            form: files[place / f"prompts_{form}.jsonl"]
            for form in FORMS
            for place in (own, folder)
            if place / f"prompts_{form}.jsonl" in files
        }
        if prompts:
            found.append(_database(f"{path}: {file}", _name(path, file), read, prompts))
    return found


def _name(path: Path, file: PurePosixPath) -> str:
    """Return the name of a database: its folder's and its own, or only the folder's."""
    parent = file.parent.name or (path if path.is_dir() else path.parent).resolve().name
    return parent.replace("_", " ") if file.stem.endswith("_database") else f"{parent} {file.stem}"


def _database(
    place: str, name: str, read: Callable[[], str], prompts: Mapping[str, Callable[[], str]]
) -> AuditedDatabase:
    """Return one database with its prompts.

    Raises:
        LacyError: E234, a file is not as expected.
    """
    try:
        triplets = parse_json(read())["triplets"]
        rows = tuple(dict.fromkeys((str(s), str(r), str(v)) for s, r, v in triplets))
    except (KeyError, TypeError, ValueError) as error:
        why = "it needs a field “triplets” with lists [subject, relation, value]"
        raise LacyError("E234", path=place, why=why) from error
    skipped: Counter[str] = Counter()
    found: dict[Row, AuditFact] = {}
    known = set(rows)
    for form, lines in prompts.items():
        for number, line in enumerate(lines().splitlines(), 1):
            if not line.strip():
                continue
            try:
                fact, prompt = _prompt(parse_json(line))
            except (KeyError, TypeError, ValueError) as error:
                why = f"line {number} of prompts_{form}.jsonl: {error or type(error).__name__}"
                raise LacyError("E234", path=place, why=why) from error
            key = (fact.subject, fact.relation, fact.value)
            if key not in known:
                skipped["the fact is not in the database"] += 1
            elif not prompt.strip():
                skipped["the prompt is empty"] += 1
            elif form in (before := found.setdefault(key, fact)).prompts:
                skipped["a second prompt of the same form"] += 1
            else:
                found[key] = replace(before, prompts={**before.prompts, form: prompt})
    return AuditedDatabase(name, rows, tuple(found.values()), dict(skipped))


def _prompt(row: Mapping[str, Any]) -> tuple[AuditFact, str]:
    """Return the fact and the prompt of one line.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or not a text.
    """
    texts = [row[name] for name in ("subject", "relation", "gold_object", "prompt_text")]
    if not all(isinstance(text, str) for text in texts) or not all(map(normal_form, texts[:3])):
        raise ValueError("subject, relation, gold_object and prompt_text must be texts")
    aliases = [
        tuple(str(alias) for alias in row.get(name) or () if normal_form(str(alias)))
        for name in ("subject_aliases", "relation_aliases", "object_aliases")
    ]
    return AuditFact(*texts[:3], *aliases), texts[3]


# ------------------------------------------------------------------------------ facts of databases


def _facts_database(path: Path, facts: int | None, seed: int) -> AuditedDatabase:
    """Return a facts database, with prompts for a sample of its facts."""
    from lacy.sources import Database, open_source

    try:
        source = open_source(str(path))
    except LacyError as error:
        if error.code != "E12":  # a database that cannot be opened says why itself
            raise
        raise LacyError("E234", path=path, why="it is no database and no known format") from error
    if not isinstance(source, Database):
        why = "it is a source without rows; an audit deletes rows of a database"
        raise LacyError("E235", path=path, why=why)
    with source:
        return database_to_audit(source, facts, seed)


def database_to_audit(
    database: Database, facts: int | None = None, seed: int = 0
) -> AuditedDatabase:
    """Return the rows of a database, and a random sample of its facts with prompts for each.

    A name with several spellings (aliases) has one row per spelling; prompts use the first.

    Args:
        database: an open database; it is only read.
        facts: maximum number of facts in the sample; None for all.
        seed: seed of the sample.
    """
    rows: dict[Row, None] = {}
    stated: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = []
    for names, relation, forms in database.rows():
        if names and relation and forms:
            stated.append((names, relation, forms))
            rows.update({(name, relation, form): None for name in names for form in forms})
    if facts is not None and facts < len(stated):
        picked = sorted(random.Random(f"{seed} {database.name}").sample(range(len(stated)), facts))
        stated = [stated[n] for n in picked]
    found = tuple(
        AuditFact(
            names[0], relation, forms[0], names[1:], (), forms[1:],
            prompts_for(names[0], relation),
        )
        for names, relation, forms in stated
    )  # fmt: skip
    return AuditedDatabase(database.name, tuple(rows), found)


def prompts_for(subject: str, relation: str) -> dict[str, str]:
    """Return prompts in all forms that ask for a relation of a subject.

    "capital" and "capital of" become "What is the capital of France?" and "What is Paris the
    capital of?". Names of relations should be words (``birth_place``, not ``P19``).
    """
    from lacy.sources import relation_words

    words = relation_words(relation)
    *_, last = words.split() or [""]
    if last in ("of", "in", "at", "by", "for", "from", "to", "on", "with") and last != words:
        article = "the " if last == "of" else ""
        question = f"What is {subject} {article}{words}?"
        statement = f"{subject} is {article}{words}"
    else:
        question, statement = f"What is the {words} of {subject}?", f"The {words} of {subject} is"
    return {
        "direct_questions": question,
        "paraphrased_questions": f"Could you answer this question: {question}",
        "contextual_questions": (
            f"Context: I am compiling a concise factual profile for {subject}. Answer with a short "
            f"factual phrase.\nQuestion: {question}"
        ),
        "fewshot_questions": f"{_FEWSHOT}Question: {question}\nAnswer:",
        "cloze": f"Complete the sentence with the missing fact: {statement} ____.",
        "continuations": f"Tell me about {subject}. {statement}",
    }  # fmt: skip
