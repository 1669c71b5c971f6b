"""Read the records of a folder, and join verdicts with their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lacy.errors import LacyError
from lacy.records.format import AnswerRecord, UserVerdict, from_line

SUFFIX = ".jsonl"
"""Suffix of the files of records."""

MAX_LINE = 4 << 20
"""Longer lines are skipped."""

PLACES = 3
"""Number of places that are listed for each reason why lines were skipped."""


@dataclass(slots=True)
class RecordedAnswer:
    """An answer with the verdicts of users, in the order of their arrival."""

    record: AnswerRecord
    verdicts: list[UserVerdict] = field(default_factory=list)


@dataclass
class ReadRecords:
    """The records of a folder, and what was skipped."""

    answers: list[RecordedAnswer]
    files: int
    skipped: Counter[str]
    """Number of lines that were skipped, by reason."""
    places: dict[str, list[str]]
    """The first places (``file:line``) of each reason."""
    unknown: int
    """Number of verdicts on answers that are not in the folder (any more)."""

    @property
    def fingerprints(self) -> set[str]:
        """The fingerprints of all models that wrote these answers."""
        return {answer.record.fingerprint for answer in self.answers}


def read_records(folder: str | Path) -> ReadRecords:
    """Read all records of a folder, or of one file; a server may go on writing meanwhile.

    Lines that are not records (damage, half a line after a full disk) are skipped and counted.

    Raises:
        LacyError: E13, no such folder; E204, there are no records in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise LacyError("E13", path=folder, do="give the folder of: lacy serve --log-calls FOLDER")
    files = [folder] if folder.is_file() else record_files(folder)
    skipped, places = Counter[str](), dict[str, list[str]]()
    answers: dict[tuple[str, int], RecordedAnswer] = {}
    verdicts: list[UserVerdict] = []
    for path in files:
        for number, (record, why) in enumerate(read_lines(path), 1):
            if record is None:
                skipped[why] += 1
                if len(found := places.setdefault(why, [])) < PLACES:
                    found.append(f"{path.name}:{number}")
            elif isinstance(record, UserVerdict):
                verdicts.append(record)
            else:
                answers[record.id, record.choice] = RecordedAnswer(record)
    if not answers:
        raise LacyError("E204", path=folder, files=len(files), skipped=skipped.total())
    unknown = 0
    for verdict in verdicts:
        answer = answers.get((verdict.id, verdict.choice))
        if answer is None or (verdict.end or 0) > answer.record.characters:
            unknown += 1
        else:
            answer.verdicts.append(verdict)
    return ReadRecords(list(answers.values()), len(files), skipped, places, unknown)


def record_files(folder: Path) -> list[Path]:
    """Return the files of records in a folder, the oldest first."""
    return sorted(folder.glob(f"records-*{SUFFIX}"), key=lambda path: (file_number(path), path))


def file_number(path: Path) -> int:
    """Return the number in the name of a file of records; 0 if it has none."""
    number = path.name.split("-")[1].removesuffix(SUFFIX)
    return int(number) if number.isdecimal() else 0


def read_lines(path: Path) -> Iterator[tuple[AnswerRecord | UserVerdict | None, str]]:
    """Yield the record of each line of a file; None and the reason for a line that is none."""
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield None, "too long" if rest else "half a line"
                continue
            try:
                yield from_line(line), ""
            except ValueError as error:
                yield None, str(error)
