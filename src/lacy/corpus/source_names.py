"""Name the source of a document by its file."""

from __future__ import annotations

import os
from pathlib import Path

from lacy.corpus.compression import FORMATS
from lacy.corpus.reader_process import SUFFIXES
from lacy.corpus.reading import KINDS
from lacy.types import Document


def source_name(source: str | Path, document: Document) -> str:
    """Return the name of the file that a document is from, without the suffixes of its format.

    In a folder, files of different subfolders differ: ``quiz/train.jsonl.gz`` is ``quiz/train``.

    Args:
        source: what ``read`` got.
        document: one of its documents.
    """
    path = Path(source)
    if document.file and path.is_dir():
        path = Path(os.path.relpath(document.file, os.path.realpath(path)))
        if path.parts[0] == os.pardir:  # reached by a link
            path = Path(path.name)
        return str(path.with_name(_stem(path))).replace("\\", "/")
    return _stem(path)


def _stem(path: Path) -> str:
    """Return a file's name without the suffixes of its format: ``a.1.jsonl.gz`` is ``a.1``."""
    name = path.name
    for known in (FORMATS, (*KINDS, *SUFFIXES, ".parquet")):
        if Path(name).suffix.lower() in known:
            name = Path(name).stem
    return name
