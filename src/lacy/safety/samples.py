"""Training samples of a client: preference pairs, and prompts with one reply; files of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.corpus import RowConverter, read
from lacy.errors import LacyError
from lacy.safety.conversations import FIELDS, HISTORY, REPLIES, Turn, plain_fields
from lacy.types import Document


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A prompt with a reply that is preferred to another one.

    Attributes:
        prompt: what the user says.
        chosen: the preferred reply.
        rejected: the other reply.
        topic: topic or source, by which clients may be skewed.
        id: names the pair in reports, which never contain its texts.
        history: earlier messages of the conversation.
    """

    prompt: str
    chosen: str
    rejected: str
    topic: str = ""
    id: str = ""
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplySample:
    """A prompt with the reply to imitate (supervised fine-tuning)."""

    prompt: str
    reply: str
    topic: str = ""
    id: str = ""
    history: tuple[Turn, ...] = ()


Sample = PreferencePair | ReplySample


def asked_texts(samples: Sequence[Sample]) -> list[str]:
    """Return what the user says in each sample: the prompt, after earlier messages of the user."""
    return [
        "\n".join([*(m["content"] for m in one.history if m["role"] == "user"), one.prompt])
        for one in samples
    ]


def read_samples(path: str | Path, *, topic_field: str = "topic") -> Iterator[Sample]:
    """Read samples from JSONL, JSON, CSV or Parquet.

    Fields ``prompt``, ``chosen`` and ``rejected`` make a preference pair (the format of TRL), and
    ``prompt`` with ``reply`` or ``completion`` a sample to imitate; a topic and ``id`` are
    optional. Lists of messages are read, too, also whole conversations without a ``prompt``
    (``lacy.safety.conversations``); the last reply of a conversation is the one to learn.

    Args:
        path: a file, or a folder of files.
        topic_field: field with the topic.

    Raises:
        LacyError: E351, a row is no sample; and the errors of ``lacy.corpus.read``.
    """
    converter = RowConverter(_converted, frozenset(FIELDS))
    try:
        for document in read(path, text_field="prompt", converter=converter):
            yield _sample_of(document, f"{path}: {document.id}", topic_field)
    except LacyError as error:  # of `read`, which advises to name the field of the text
        if error.code == "E22":
            why = f"it has no prompt (it has {error.values['fields']})"
        elif error.code == "E21" and "text is no string" in str(error):
            why = "its prompt is not a text"
        else:
            raise
        raise LacyError("E351", where=path, why=why) from error


def _converted(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of a row with texts in place of messages.

    Raises:
        LacyError: E351, its messages cannot be understood.
    """
    try:
        return plain_fields(row)
    except ValueError as error:
        raise LacyError("E351", where=where, why=error) from error


def _sample_of(document: Document, where: str, topic_field: str) -> Sample:
    """Return the sample of a row.

    Raises:
        LacyError: E351, it is none.
    """
    meta = document.meta
    topic = meta.get(topic_field)
    about = ("" if topic is None else str(topic), document.id, tuple(meta.get(HISTORY) or ()))
    given = [name for name in ("chosen", "rejected", *REPLIES) if meta.get(name)]
    if not given:  # what is there, but empty, comes first
        given = [name for name in ("chosen", "rejected", *REPLIES) if name in meta]
    pair = bool({"chosen", "rejected"} & {*given})
    names = ("chosen", "rejected") if pair else (given[0] if given else "reply",)
    for name in names:
        value = meta.get(name)
        if name not in meta:
            listed = ", ".join(("prompt", *sorted(meta)))
            alone = "neither chosen and rejected nor reply"
            why = f"it has {f'no {name}' if given else alone} (it has {listed})"
        elif not isinstance(value, str):
            why = f"its {name} is not a text"
        elif not value.strip():
            why = f"its {name} is empty"
        else:
            continue
        raise LacyError("E351", where=where, why=why)
    replies = [str(meta[name]) for name in names]
    if pair:
        return PreferencePair(document.text, replies[0], replies[1], *about)
    return ReplySample(document.text, replies[0], *about)
