"""What a scorecard measures a model on: files that the user has, and limits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.results import answer_key

SUBJECTS = 60
"""Default number of subjects of the facts that ship with lacy."""


@dataclass(frozen=True, slots=True)
class ScorecardInputs:
    """Files and limits of a scorecard. A section whose file is None is left out and says so."""

    model: str = ""
    """The model's name, for what opens it again (memory of a fresh process, lm-eval)."""
    articles: Path | None = None
    """Held-out articles with titles."""
    questions: Path | None = None
    """Questions with accepted answers, with facts or paragraphs that answer them."""
    audit: Path | None = None
    """Facts to delete and to edit, as for ``evaluate.read_audit``."""
    tasks: tuple[str, ...] = ()
    """Tasks of lm-eval."""
    judge: str = ""
    """The judge of facts, as for ``judges.open_judge``; by default its default."""
    facts: str = "clauses"
    """How texts are split into facts, as for ``factscore.open_facts``."""
    only: str | None = None
    """Read only articles for which this field is true."""
    pipeline: str = "auto"
    """spaCy pipeline that finds names, numbers and dates in articles."""
    subjects: int = SUBJECTS
    """Number of subjects of the facts that ship with lacy."""
    items: int = 100
    """Maximum number of articles, questions and documents of a task."""
    topics: int = 40
    """Maximum number of topics that the model writes about for a judge."""
    audited: int = 3
    """Maximum number of audited facts per database."""
    max_new_tokens: int = 64
    """Length of the texts that continue articles."""
    policy: str = ""
    """When the model calls in cascade; by default what suits the model."""
    seed: int = 0


def content_key(path: Path) -> Any:
    """Return what identifies the content of a file or folder: name, size and a hash.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        return [path.name, answer_key([[str(f.relative_to(path)), _digest(f)] for f in files])]
    return [path.name, path.stat().st_size, _digest(path)]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
