"""Training samples of a client: preference pairs, and prompts with one reply; files of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lacy.corpus import read
from lacy.errors import LacyError


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A prompt with a reply that is preferred to another one.

    Attributes:
        prompt: what the user says.
        chosen: the preferred reply.
        rejected: the other reply.
        topic: topic or source, by which clients may be skewed.
        id: names the pair in reports, which never contain its texts.
    """

    prompt: str
    chosen: str
    rejected: str
    topic: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class ReplySample:
    """A prompt with the reply to imitate (supervised fine-tuning)."""

    prompt: str
    reply: str
    topic: str = ""
    id: str = ""


Sample = PreferencePair | ReplySample


def read_samples(path: str | Path) -> Iterator[Sample]:
    """Read samples from JSONL, JSON, CSV or Parquet.

    Fields ``prompt``, ``chosen`` and ``rejected`` make a preference pair (the format of TRL), and
    ``prompt`` with ``reply`` or ``completion`` a sample to imitate; ``topic`` and ``id`` are
    optional.

    Raises:
        LacyError: E351, a row has other fields; and the errors of ``lacy.corpus.read``.
    """
    for document in read(path, text_field="prompt"):
        meta = {name: value for name, value in document.meta.items() if isinstance(value, str)}
        topic = meta.get("topic", "")
        reply = meta.get("reply", meta.get("completion"))
        if meta.get("chosen") and meta.get("rejected"):
            yield PreferencePair(
                document.text, meta["chosen"], meta["rejected"], topic, document.id
            )
        elif reply:
            yield ReplySample(document.text, reply, topic, document.id)
        else:
            names = ", ".join(("prompt", *sorted(document.meta)))
            raise LacyError("E351", where=f"{path}: {document.id}", names=names)
