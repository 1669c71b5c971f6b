"""Read FActScore's files: responses with facts that people labelled, and passages of pages.

A labelled file has one JSON object per line and response: ``topic``, ``output``, and
``annotations``, one per sentence, with the facts that people checked (``human-atomic-facts``) and
those that a model wrote (``model-atomic-facts``). Responses that abstain have no annotations. A
passage file has one object per passage: ``topic`` and ``text``.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from lacy.errors import LacyError
from lacy.judges.protocol import Claim

Label = Literal["S", "NS", "IR"]
"""Supported by the page, not supported, or irrelevant to the question."""

LABELS: dict[str, Label] = {
    "s": "S", "supported": "S", "true": "S",
    "ns": "NS", "notsupported": "NS", "unsupported": "NS", "false": "NS",
    "ir": "IR", "irrelevant": "IR",
}  # fmt: skip
"""All spellings of the labels, in lower case, without spaces, hyphens and underscores."""

MAX_LINE = 64 << 20
"""Longest line that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class LabelledFact:
    """An atomic fact and what people said of it; ``sentence`` is the number of its sentence."""

    text: str
    label: Label
    sentence: int


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """A response of a model about a topic, with its facts.

    Attributes:
        model: the model that wrote it.
        topic: the topic it was asked about.
        text: the response.
        sentences: its sentences; empty if it abstains.
        facts: the facts that people labelled.
        model_facts: per sentence, the facts that a model wrote, without labels.
    """

    model: str
    topic: str
    text: str
    sentences: tuple[str, ...]
    facts: tuple[LabelledFact, ...]
    model_facts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class LabelledClaims:
    """The relevant facts of a labelled response as claims, and whether people supported each."""

    model: str
    topic: str
    claims: tuple[Claim, ...]
    supported: tuple[bool, ...]


def read_labelled_responses(paths: Iterable[str | Path]) -> list[LabelledResponse]:
    """Read labelled files, plain or gzip; the file's name says which model wrote the responses.

    Raises:
        LacyError: E217, a file cannot be read or a line is not a labelled response.
    """
    return [
        _response(record, labelled_model(path), where)
        for path in map(Path, paths)
        for where, record in _records(path)
    ]


def read_topic_passages(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Return the passages of each topic, in the order of the file.

    Raises:
        LacyError: E217, the file cannot be read or a line lacks a topic or a text.
    """
    found: dict[str, list[str]] = {}
    for where, record in _records(Path(path)):
        found.setdefault(_text(record, "topic", where), []).append(_text(record, "text", where))
    return {topic: tuple(texts) for topic, texts in found.items()}


def labelled_model(path: Path) -> str:
    """Return the model that a labelled file is named after: "GPT" of ``labels_GPT.jsonl.gz``."""
    return path.name.partition(".jsonl")[0].rpartition("_")[2]


def labelled_claims(
    responses: Iterable[LabelledResponse], passages: Mapping[str, tuple[str, ...]]
) -> list[LabelledClaims]:
    """Return the claims of each response that has relevant facts.

    Irrelevant facts are left out, as in FActScore. Facts of a topic without passages become claims
    without passages, which no judge can decide.
    """
    found = []
    for response in responses:
        facts = [fact for fact in response.facts if fact.label != "IR"]
        if facts:
            page = passages.get(response.topic, ())
            claims = [Claim(fact.text, response.topic, page, response.model) for fact in facts]
            labels = tuple(fact.label == "S" for fact in facts)
            found.append(LabelledClaims(response.model, response.topic, tuple(claims), labels))
    return found


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file with their places, such as ``"labels.jsonl, line 3"``."""
    place = str(path)
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                place = f"{path}, line {number}"
                if len(line) > MAX_LINE:
                    raise LacyError("E217", place=place, why="the line is longer than 64 MB")
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise LacyError("E217", place=place, why="it is not a JSON object")
                yield place, record
    except (OSError, EOFError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LacyError("E217", place=place, why=why) from error


def _opened(path: Path) -> IO[bytes]:
    """Open a file, plain or gzip."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else open(path, "rb")


def _response(record: Mapping[str, Any], model: str, where: str) -> LabelledResponse:
    """Read a line of a labelled file."""
    if "annotations" not in record:
        raise LacyError("E217", place=where, why="it has no 'annotations'")
    sentences, facts, model_facts = [], [], []
    for number, sentence in enumerate(_objects(record, "annotations", where)):
        sentences.append(_text(sentence, "text", where))
        for fact in _objects(sentence, "human-atomic-facts", where):
            facts.append(LabelledFact(_text(fact, "text", where), _label(fact, where), number))
        written = _objects(sentence, "model-atomic-facts", where)
        model_facts.append(tuple(_text(fact, "text", where) for fact in written))
    topic, text = _text(record, "topic", where), _text(record, "output", where)
    return LabelledResponse(
        model, topic, text, tuple(sentences), tuple(facts), tuple(model_facts)
    )  # fmt: skip


def _objects(record: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; a list that is missing or null is empty."""
    value = record.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise LacyError("E217", place=where, why=f"{name!r} is not a list of objects")
    return value


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise LacyError("E217", place=where, why=f"{name!r} is not a text")
    return value


def _label(fact: Mapping[str, Any], where: str) -> Label:
    """Read a label in any of its spellings."""
    given = fact.get("label", fact.get("is_supported"))
    label = LABELS.get(re.sub(r"[\s_-]", "", str(given).lower()))
    if label is None:
        raise LacyError(
            "E217", place=where, why=f"the label {given!r} is none of S, NS, IR (or in words)"
        )
    return label
