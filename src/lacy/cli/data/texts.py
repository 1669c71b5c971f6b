"""Flags of all commands that read texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.config import Rare

if TYPE_CHECKING:
    from lacy.corpus import ReadReport
    from lacy.types import Document


TEXTS = {"world.json": "train.jsonl", "loop.json": "marked.jsonl", "clean.json": "texts.jsonl"}
"""Files of texts in folders that lacy wrote, by the file that tells what the folder is."""


@dataclass
class TextOptions:
    """Flags that say how texts are read."""

    # [Texts]
    text_field: Rare[str] = "text"
    """Name of the text field in JSON, CSV and Parquet."""
    id_field: Rare[str] = "id"
    """Name of the id field."""
    encoding: str | None = None
    """Encoding of texts that are not UTF-8 and declare none, such as windows-1252 or shift_jis; by
    default Western European texts are read as windows-1252 and others left out."""
    follow_links: Rare[bool] = False
    """Follow symbolic links to folders, and to files outside the folder."""
    split: Rare[str] = "train"
    """Split of a Hub data set."""
    limit: int | None = None
    """Read only this many documents."""

    def read(
        self,
        source: str,
        report: ReadReport,
        *,
        limit: int | None = None,
        only: str | None = None,
    ) -> Iterator[Document]:
        """Yield the documents of a source (of a made-up world, its training texts).

        Args:
            source: a file, a folder, a world's folder or ``hf:owner/name``.
            report: records which texts were skipped.
            limit: maximum number of documents.
            only: field that must be true; ``limit`` counts only these documents.
        """
        from lacy.corpus import read

        return read(
            text_source(source),
            text_field=self.text_field,
            id_field=self.id_field,
            split=self.split,
            only=only,
            limit=limit,
            report=report,
            encoding=self.encoding,
            follow_links=self.follow_links,
        )


def text_source(source: str) -> str | Path:
    """Return the file of texts in a folder that lacy wrote; other sources unchanged."""
    if source.startswith("hf:"):
        return source
    folder = Path(source)
    for name, texts in TEXTS.items():
        if (folder / name).is_file() and (folder / texts).is_file():
            return folder / texts
    return folder
