"""Labelled prompts and answers: read them, split them, and turn them into token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lacy.corpus import ReadReport, read, source_name
from lacy.encoder import PieceReader
from lacy.errors import LacyError

Role = Literal["prompt", "answer"]
ROLES: tuple[Role, ...] = ("prompt", "answer")

HARMFUL_WORDS = ("1", "true", "yes", "harmful", "unsafe", "toxic")
SAFE_WORDS = ("0", "false", "no", "harmless", "safe", "benign")
"""Labels that are understood without further settings, in any letter case."""

CHARACTERS_PER_TOKEN = 8
"""Characters of a long text's beginning, and of its end, that are read per wanted token."""

_END_MARKS = " .!?\u2026\"'\t\r\n"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A prompt, or an answer with its prompt, and whether it is harmful.

    Attributes:
        text: the prompt or the answer.
        harmful: the label; None if it is unknown (a teacher may still label it).
        source: name of the data that it comes from; results are reported by source.
        prompt: for an answer, the prompt before it (it may be empty); None for a prompt.
        id: names the text in reports, which never contain it.
    """

    text: str
    harmful: bool | None = None
    source: str = ""
    prompt: str | None = None
    id: str = ""

    @property
    def role(self) -> Role:
        """Whether it is a prompt or an answer."""
        return "prompt" if self.prompt is None else "answer"


@dataclass(frozen=True, slots=True)
class LabelFields:
    """Where the label, source and prompt of a text are in a file (columns or JSON fields).

    Attributes:
        text: field with the text.
        label: field with the label.
        source: field with the name of the source; without it, the file's name is used.
        prompt: field with the prompt; texts that have it are answers.
        harmful: values of the label that mean harmful, besides ``HARMFUL_WORDS``.
        safe: values that mean safe, besides ``SAFE_WORDS``.
    """

    text: str = "text"
    label: str = "label"
    source: str = "source"
    prompt: str = "prompt"
    harmful: Sequence[str] = ()
    safe: Sequence[str] = ()

    def label_of(self, value: object, where: str) -> bool | None:
        """Return the label; None if there is none.

        Raises:
            LacyError: E347, the label is not known.
        """
        word = str(value).strip().lower() if value is not None else ""
        if word in {*HARMFUL_WORDS, *(one.lower() for one in self.harmful)}:
            return True
        if word in {*SAFE_WORDS, *(one.lower() for one in self.safe)}:
            return False
        if word == "":
            return None
        known = ", ".join((*HARMFUL_WORDS, *self.harmful, *SAFE_WORDS, *self.safe))
        raise LacyError("E347", where=where, label=str(value)[:40], known=known)


def read_labelled(
    paths: Iterable[str | Path],
    fields: LabelFields | None = None,
    *,
    encoding: str | None = None,
    report: ReadReport | None = None,
) -> list[LabelledText]:
    """Read labelled texts from all formats of ``lacy.corpus.read`` (JSONL, JSON, CSV, Parquet).

    Args:
        paths: files or folders.
        fields: names of the fields.
        encoding: encoding of files that are not UTF-8.
        report: filled with what was skipped.

    Raises:
        LacyError: E347, a label is not known; and the errors of ``read``.
    """
    fields = fields or LabelFields()
    found = []
    for path in paths:
        documents = read(path, text_field=fields.text, encoding=encoding, report=report)
        for document in documents:
            meta, prompt = document.meta, document.meta.get(fields.prompt)
            harmful = fields.label_of(meta.get(fields.label), f"{path}: {document.id}")
            source = str(meta.get(fields.source) or source_name(path, document))
            prompt = None if prompt is None else str(prompt)
            found.append(LabelledText(document.text, harmful, source, prompt, document.id))
    return found


def hold_out(
    texts: Sequence[LabelledText], share: float, seed: int = 0
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Split texts into those to train on and those to calibrate on; equal prompts stay together.

    Texts without a label are never held out. A text's side depends on the seed and its words only.
    """

    def held(one: LabelledText) -> bool:
        words = " ".join((one.text if one.prompt in (None, "") else one.prompt).lower().split())
        data = f"{seed}\0{words}".encode(errors="replace")
        number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        return one.harmful is not None and number < share * 2**64

    sides = [held(one) for one in texts]
    train = [one for one, side in zip(texts, sides, strict=True) if not side]
    return train, [one for one, side in zip(texts, sides, strict=True) if side]


class TextIds:
    """Turns prompts and answers into token ids of bounded number.

    A long text keeps its beginning and its end, because a harmful request may stand behind a long
    story. The marks at the end of a text are left out: whether a prompt ends with a full stop tells
    where it was collected, not whether it is harmful.

    Args:
        reader: splits texts into pieces.
        prompt_tokens: tokens kept of a prompt, and half as many of a prompt before an answer.
        answer_tokens: tokens kept of an answer.
    """

    def __init__(
        self, reader: PieceReader, prompt_tokens: int = 64, answer_tokens: int = 64
    ) -> None:
        self.reader, self.limits = reader, {"prompt": prompt_tokens, "answer": answer_tokens}

    def rows(self, texts: Sequence[LabelledText]) -> list[tuple[list[int], list[int]]]:
        """Return ids and kinds of each text: kind 1 marks the tokens of an answer."""
        limits = self.limits
        prompts = self._pieces(
            [one.text if one.prompt is None else one.prompt for one in texts],
            [limits["prompt"] // (1 if one.prompt is None else 2) for one in texts],
        )
        answers = self._pieces(
            ["" if one.prompt is None else one.text for one in texts],
            [limits["answer"]] * len(texts),
        )
        found = []
        for one, prompt, answer in zip(texts, prompts, answers, strict=True):
            ids = [self.reader.cls, *prompt, self.reader.sep]
            kinds = [0] * len(ids)
            if one.prompt is not None:
                ids += [*answer, self.reader.sep]
                kinds += [1] * (len(answer) + 1)
            found.append((ids, kinds))
        return found

    def _pieces(self, texts: Sequence[str], limits: Sequence[int]) -> list[list[int]]:
        """Return the first and last pieces of each text, at most its limit together."""
        cut = []
        for text, limit in zip(texts, limits, strict=True):
            room = limit * CHARACTERS_PER_TOKEN
            whole = text if len(text) <= 2 * room else f"{text[:room]} {text[-room:]}"
            cut.append(whole.rstrip(_END_MARKS))
        pieces = self.reader.pieces(cut, 4 * max(limits, default=1))
        return [
            ids if len(ids) <= limit else [*ids[: limit // 2], *ids[limit // 2 - limit :]]
            for ids, limit in zip(pieces, limits, strict=True)
        ]


def batches_of(
    rows: Sequence[tuple[list[int], list[int]]], batch: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield places, ids ``[N, T]`` and kinds ``[N, T]`` of texts of similar length."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        yield places, *padded([rows[place] for place in places])


def padded(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """Return ids and kinds ``[N, T]``; id 0 is padding."""
    ids_NT, kinds_NT = (
        pad_sequence([torch.tensor(row[part]) for row in rows], batch_first=True) for part in (0, 1)
    )
    return ids_NT, kinds_NT
