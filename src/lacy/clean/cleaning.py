"""Write the texts of a collection that are worth training on, and a table of the others."""

from __future__ import annotations

import csv
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacy._require import require_share
from lacy.clean.near import NearDuplicates
from lacy.clean.quality import QualityModel, train_quality_model
from lacy.corpus import read, write_documents
from lacy.disk import replace_folder
from lacy.errors import LacyError
from lacy.run import environment
from lacy.types import Document

KEEP = 0.5
"""Share of the texts to keep by default, if there are reference texts."""

SAMPLE = 5_000
"""Most texts of each side from which the quality model learns."""

BATCH = 256
"""Texts that are scored at a time."""

EVERY = 10.0
"""Seconds between reports of progress."""

SHOWN = 80
"""Characters of a text in the table of those that were left out."""

Documents = Callable[[], Iterable[Document]]
"""A function that reads the documents from the beginning at each call."""

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """What is left out.

    Args:
        near: similarity from which a text is left out as a near-duplicate of an earlier one; None
            for no such comparison.
        words: words per n-gram in this comparison.
        keep: share of the other texts to keep, those that are most like the reference texts; None
            for half of them. Needs reference texts.
        seed: chooses the sample that the quality model learns from.
    """

    near: float | None = 0.8
    words: int = 5
    keep: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CleanCounts:
    """Numbers of texts.

    Attributes:
        read: texts of the collection.
        near: of them left out as near-duplicates.
        low: of them left out because of a low score.
        kept: of them kept.
        characters: in the texts that were read and in the kept ones.
        threshold: the score from which texts were kept, if there are reference texts.
        auroc: how well the quality model tells held-out texts, if there are reference texts.
    """

    read: int
    near: int
    low: int
    kept: int
    characters: tuple[int, int]
    threshold: float | None = None
    auroc: float | None = None


def clean_texts(
    documents: Documents,
    out: str | Path,
    settings: CleanSettings | None = None,
    *,
    like: Documents | None = None,
    notify: Notify = lambda sentence: None,
) -> CleanCounts:
    """Write a folder with the texts to keep.

    ``texts.jsonl`` has the kept texts with their fields and marks, ``removed.csv`` the id, the
    reason and the beginning of each other one, ``clean.json`` settings and counts. Of texts that
    are near-duplicates of each other, the first one stays. Signatures and scores are kept in
    memory, some kilobytes per text; texts are read as a stream, twice with reference texts.

    Args:
        documents: the collection.
        out: folder to write; it appears as a whole at the end.
        settings: by default ``CleanSettings()``.
        like: reference texts of good quality; None to filter duplicates only.
        notify: receives sentences about the progress.

    Raises:
        LacyError: E11, rensa is not installed; E12, a setting makes no sense, or nothing would be
            left out; E16, ``out`` has other content; E400, there are too few texts to learn from.
    """
    settings = settings or CleanSettings()
    keep = KEEP if settings.keep is None else settings.keep
    require_share("keep", keep)
    if like is None:
        do = "give texts of good quality: like (--like FILE)"
        if settings.keep is not None:
            why = "there are no reference texts to choose by"
            raise LacyError("E12", key="keep", value=settings.keep, why=why, do=do)
        if settings.near is None:
            why = "without reference texts, nothing would be left out"
            raise LacyError("E12", key="near", value=0, why=why, do=f"{do}, or a similarity")
    known = None if settings.near is None else NearDuplicates(settings.near, settings.words)
    model = None if like is None else _quality_model(documents, like, settings.seed, notify)
    with (
        replace_folder(out) as folder,
        (folder / "removed.csv").open("w", encoding="utf-8", newline="") as removed,
    ):
        run = _Run(known, model, csv.writer(removed), notify)
        survivors = write_documents(run.distinct(documents()), folder / "texts.jsonl")
        low, threshold = 0, None
        if model is not None and survivors:
            low, threshold = run.drop_lowest(folder / "texts.jsonl", keep)
        counts = CleanCounts(
            run.read, run.near, low, survivors - low, (run.characters, run.kept_characters),
            threshold, None if model is None else model.auroc,
        )  # fmt: skip
        info = {"settings": asdict(settings), "counts": asdict(counts), **environment()}
        (folder / "clean.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    return counts


def _quality_model(
    documents: Documents, like: Documents, seed: int, notify: Notify
) -> QualityModel:
    """Train the quality model on samples of both collections."""
    notify("Learning what the reference texts have in common")
    good, others = (_sample(one(), seed) for one in (like, documents))
    model = train_quality_model(good, others, seed=seed)
    if model.auroc < 0.6:
        notify(f"The reference texts can hardly be told from the others (AUROC {model.auroc:.2f}); "
               "the choice will be close to a random one.")  # fmt: skip
    return model


def _sample(documents: Iterable[Document], seed: int) -> list[str]:
    """Return a random sample of texts (reservoir sampling)."""
    chance, kept = random.Random(seed), list[str]()
    for number, document in enumerate(documents):
        place = number if number < SAMPLE else chance.randrange(number + 1)
        if place < len(kept):
            kept[place] = document.text
        elif place < SAMPLE:
            kept.append(document.text)
    return kept


class _Run:
    """One pass over a collection, its counts and its table of removed texts."""

    def __init__(
        self,
        known: NearDuplicates | None,
        model: QualityModel | None,
        removed: Any,
        notify: Notify,
    ) -> None:
        self.known, self.model, self.removed, self.notify = known, model, removed, notify
        self.read = self.near = self.characters = self.kept_characters = 0
        self.ids: list[str] = []
        self.scores: list[float] = []
        self.removed.writerow(["id", "why", "like", "score", "begins"])

    def distinct(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents that are no near-duplicates, and score them."""
        for batch in _batched(self._first(documents), BATCH):
            if self.model is not None:
                self.scores += self.model.scores([one.text for one in batch]).tolist()
            yield from batch

    def _first(self, documents: Iterable[Document]) -> Iterator[Document]:
        said = time.monotonic()
        for one in documents:
            self.read += 1
            self.characters += len(one.text)
            twin = None if self.known is None else self.known.first_like(one.text)
            if twin is not None:
                self.near += 1
                self._leave_out(one, "near-duplicate", self.ids[twin], None)
                continue
            self.ids.append(one.id)
            self.kept_characters += len(one.text)
            if time.monotonic() - said > EVERY:
                said = time.monotonic()
                self.notify(f"{self.read:,} texts read, {self.near:,} of them near-duplicates")
            yield one

    def _leave_out(self, one: Document, why: str, like: str, score: float | None) -> None:
        shown = "" if score is None else f"{score:.4f}"
        self.removed.writerow([one.id, why, like, shown, " ".join(one.text[:SHOWN].split())])

    def drop_lowest(self, file: Path, keep: float) -> tuple[int, float]:
        """Leave the texts with the lowest scores out of a file.

        Returns:
            Their number, and the lowest score of those that stay.
        """
        scores = np.array(self.scores)
        dropped = len(scores) - max(1, round(keep * len(scores)))
        lowest = np.zeros(len(scores), bool)
        lowest[np.argsort(scores, kind="stable")[:dropped]] = True
        self.kept_characters = 0

        def kept() -> Iterator[Document]:
            for one, score, low in zip(read(file), scores, lowest, strict=True):
                if low:
                    self._leave_out(one, "low score", "", float(score))
                else:
                    self.kept_characters += len(one.text)
                    yield one

        fresh = file.with_name("kept.jsonl")
        write_documents(kept(), fresh)
        fresh.replace(file)
        return dropped, float(scores[~lowest].min())


def _batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    stream = iter(documents)
    while batch := list(itertools.islice(stream, size)):
        yield batch
