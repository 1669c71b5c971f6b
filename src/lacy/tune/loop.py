"""The data loop: records of served answers become data for the next tuning."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lacy.annotate import AnnotateConfig
from lacy.corpus import write_documents
from lacy.disk import lock, replace_folder, write_atomic
from lacy.model import model_fingerprint
from lacy.records import ReadRecords, read_records
from lacy.tune.articles import Notify
from lacy.tune.gaps import RelationCounts, count_relations, disputed_csv, unanswered_csv
from lacy.tune.served import served_texts

TEXTS_FILE, UNANSWERED_FILE, DISPUTED_FILE = "marked.jsonl", "unanswered.csv", "disputed.csv"
SUMMARY_FILE = "loop.json"


@dataclass(frozen=True)
class LoopResult:
    """What the records contain, and what was written."""

    records: ReadRecords
    relations: list[RelationCounts]
    answers: int
    with_texts: int
    """Number of answers whose texts were kept."""
    judged: int
    """Number of answers with a verdict."""
    documents: int
    """Number of training texts."""
    labels: Counter[str]
    """See ``ServedTexts``."""
    repeated: int
    without_values: int
    unanswered: int
    """Number of rows of the list of facts that sources lack."""
    disputed: int
    """Number of rows of the list of sources' values that users marked as wrong."""


def data_loop(
    logs: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    judged: bool = False,
    annotate: AnnotateConfig | None = None,
    notify: Notify = lambda sentence: None,
    progress: bool = True,
) -> LoopResult:
    """Turn a folder of records into a folder of training data and lists.

    The folder is readable only by its owner. It contains ``marked.jsonl`` (marked texts for
    ``lacy tune``), ``unanswered.csv`` (facts that sources lack), ``disputed.csv`` (sources' values
    that users marked as wrong) and ``loop.json`` (all counts).

    Args:
        logs: the folder that ``lacy serve --log-calls`` writes.
        out: folder to write; replaced as a whole.
        model: a model; if some records come from other weights, ``notify`` is told.
        judged: make training texts only of answers with a verdict.
        annotate: the annotator's settings.
        notify: called with a sentence for each automatic choice and each problem.
        progress: show a progress bar on a terminal.

    Raises:
        LacyError: E13, E204, there are no records; E16, ``out`` is not a folder of lacy; E163, most
            texts are in another language than the annotator's.
    """
    out = Path(out)
    records = read_records(logs)
    _warn(records, model, notify)
    answers = records.answers
    chosen = [answer for answer in answers if answer.verdicts or not judged]
    marks = out.with_name(f"{out.name}-marks")
    with lock(marks):
        texts = served_texts(chosen, marks, annotate, notify=notify, progress=progress)
    unanswered, gaps = unanswered_csv(answers)
    disputed, disputes = disputed_csv(answers)
    result = LoopResult(
        records=records,
        relations=count_relations(answers),
        answers=len(answers),
        with_texts=sum(answer.record.text is not None for answer in answers),
        judged=sum(bool(answer.verdicts) for answer in answers),
        documents=len(texts.documents),
        labels=texts.labels,
        repeated=texts.repeated,
        without_values=texts.without_values,
        unanswered=gaps,
        disputed=disputes,
    )
    with replace_folder(out) as folder:
        folder.chmod(0o700)  # it may contain texts of users
        if texts.documents:
            write_documents(texts.documents, folder / TEXTS_FILE)
        write_atomic(folder / UNANSWERED_FILE, unanswered)
        write_atomic(folder / DISPUTED_FILE, disputed)
        write_atomic(folder / SUMMARY_FILE, json.dumps(_summary(result), indent=2) + "\n")
    return result


def _summary(result: LoopResult) -> dict[str, object]:
    """Return the counts as plain data."""
    names = ("answers", "with_texts", "judged", "documents", "repeated", "without_values",
             "unanswered", "disputed")  # fmt: skip
    return {
        **{name: getattr(result, name) for name in names},
        "labels": dict(result.labels),
        "fingerprints": sorted(result.records.fingerprints),
        "skipped_lines": dict(result.records.skipped),
        "unknown_verdicts": result.records.unknown,
        "relations": [
            vars(counts) | {"missing": {**counts.missing}} for counts in result.relations
        ],
    }


def _warn(records: ReadRecords, model: str | Path | None, notify: Notify) -> None:
    """Tell about skipped lines, lost answers, and answers of other models."""
    for why, count in records.skipped.items():
        notify(f"Skipped {count} lines: {why} ({', '.join(records.places[why])}).")
    if records.unknown:
        notify(f"{records.unknown} verdicts are on answers whose records are gone.")
    found = Counter(answer.record.fingerprint for answer in records.answers)
    if hosted := found.pop("", 0):
        notify(f"{hosted} answers are of a model on another server, whose weights are unknown.")
    if model is None:
        if len(found) > 1:
            notify(
                f"The answers are of {len(found)} models with different weights; give --model to "
                "see how many are of yours."
            )
        return
    own = model_fingerprint(model)
    if others := found.total() - found[own]:
        notify(
            f"Warning: {others} of {len(records.answers)} answers are of other weights than those "
            f"of {model}; what they got wrong, it may know, and the other way round."
        )
