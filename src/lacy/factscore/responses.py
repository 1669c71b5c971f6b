"""Texts about topics whose facts are judged, and the files that contain them.

Three kinds of JSON lines are read: ``{topic, output}`` as the original's command takes them, the
same with ``annotations`` (its labelled data), and ``{prompt, facts, ..._labels}`` (its released
predictions).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.errors import LacyError

FACTS_OF_PEOPLE, FACTS_OF_MODEL = "human-atomic-facts", "model-atomic-facts"
"""Keys of the facts in the original's labelled files."""

_SUPPORTED = frozenset({"s", "supported", "true"})
_NOT_SUPPORTED = frozenset({"ns", "not-supported", "not supported", "unsupported", "false"})
_IRRELEVANT = frozenset({"ir", "irrelevant"})

_PROMPT = re.compile(
    r"(?:question:\s*)?tell me a (?:bio|biography) of\s+(.+?)\.?\s*$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class GivenFact:
    """A fact that came with a response.

    Attributes:
        text: the fact.
        supported: what people said of it; None if nobody did, or it is irrelevant.
        irrelevant: True if people found it irrelevant to the topic; it does not count then.
    """

    text: str
    supported: bool | None = None
    irrelevant: bool = False


@dataclass(frozen=True, slots=True)
class TopicResponse:
    """What a model wrote about a topic.

    Attributes:
        topic: what the text is about; the title of a page.
        text: the text; empty if the model wrote nothing.
        abstained: True or False if that is known; None lets rules decide (``abstains``).
        facts: facts that came with the text; None if there are none.
    """

    topic: str
    text: str
    abstained: bool | None = None
    facts: tuple[GivenFact, ...] | None = None


def read_responses(
    path: str | Path, *, labels: str = "", limit: int | None = None
) -> list[TopicResponse]:
    """Read responses from a file of JSON lines, plain or ``.gz``.

    Args:
        path: the file.
        labels: for files of the original's labelled data, whose facts to take: ``people`` or
            ``model``; "" takes people's if every fact of them has a label, else the model's. For
            its predictions, the judge whose labels to take, such as ``ChatGPT``.
        limit: read only this many.

    Raises:
        LacyError: E13, no such file; E225, a line has neither a topic nor a text.
    """
    path = Path(path)
    if not path.is_file():
        raise LacyError("E13", path=path, do="name a file of lines such as "
                        '{"topic": "Ada Lovelace", "output": "Ada Lovelace was ..."}')  # fmt: skip
    responses: list[TopicResponse] = []
    for number, line in _numbered_lines(path):
        if limit is not None and len(responses) >= limit:
            break
        try:
            responses.append(_response(parse_json(line), labels))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise LacyError("E225", path=path, line=number, why=why) from None
    if not responses:
        raise LacyError("E225", path=path, line=1, why="the file is empty")
    return responses


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise LacyError("E225", path=path, line=1, why=f"it cannot be read ({error})") from None


def _response(row: Any, labels: str) -> TopicResponse:
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")
    topic = row.get("topic")
    if topic is None and isinstance(row.get("prompt"), str):
        named = _PROMPT.match(row["prompt"].strip())
        topic = named[1] if named else None
    text = row.get("output", row.get("generation", row.get("response")))
    facts = _given_facts(row, labels)
    if text is None and facts is not None:
        text = " ".join(fact.text for fact in facts)
    if not isinstance(topic, str) or not topic.strip():
        raise ValueError("it has no 'topic'")
    if text is None and "output" not in row:
        raise ValueError("it has no 'output'")
    abstained = row.get("abstained")
    if "annotations" in row and row["annotations"] is None:
        abstained = True
    return TopicResponse(topic.strip(), str(text or ""), abstained, facts)


def _given_facts(row: Mapping[str, Any], labels: str) -> tuple[GivenFact, ...] | None:
    """Return the facts of a row in any of the original's formats."""
    if row.get("annotations"):
        return tuple(_annotated(row["annotations"], labels))
    if row.get("facts") is None:
        return None
    judged = _labels_of(row, labels)
    texts = [fact if isinstance(fact, str) else str(fact["text"]) for fact in row["facts"]]
    if judged is None:
        return tuple(GivenFact(text) for text in texts)
    if len(judged) != len(texts):
        raise ValueError(f"{len(texts)} facts, but {len(judged)} labels")
    return tuple(_labelled(text, label) for text, label in zip(texts, judged, strict=True))


def _annotated(sentences: Sequence[Mapping[str, Any]], labels: str) -> Iterable[GivenFact]:
    key = {"people": FACTS_OF_PEOPLE, "model": FACTS_OF_MODEL, "": FACTS_OF_PEOPLE}.get(labels)
    if key is None:
        raise ValueError(f"labels {labels!r} are neither 'people' nor 'model'")
    if not labels and not any(sentence.get(key) for sentence in sentences):
        key = FACTS_OF_MODEL
    for sentence in sentences:
        for fact in sentence.get(key) or ():
            yield _labelled(str(fact["text"]), fact.get("label"))


def _labels_of(row: Mapping[str, Any], judge: str) -> Sequence[Any] | None:
    """Return a row's labels; the original spells the key "ChatGPT_labels" and "ChatGPT_Labels"."""
    found = {key.lower(): value for key, value in row.items() if key.lower().endswith("labels")}
    if judge:
        return found.get(f"{judge.lower()}_labels")
    return next(iter(found.values()), None)


def _labelled(text: str, label: Any) -> GivenFact:
    if label is None:
        return GivenFact(text)
    word = str(label).strip().lower()
    if word in _IRRELEVANT:
        return GivenFact(text, None, irrelevant=True)
    if word not in _SUPPORTED | _NOT_SUPPORTED:
        raise ValueError(f"label {label!r} is none of S, NS, IR")
    return GivenFact(text, word in _SUPPORTED)
