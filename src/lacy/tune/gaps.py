"""Count what a served model delegated, what its sources lacked, and what users marked as wrong."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lacy.records import AnswerRecord, RecordedAnswer, SpanRecord
from lacy.types import Missing

OWN_WORDS = "(the model's own words)"
UNKNOWN = "(unknown)"
"""The relation of calls without an answer that fitted, and of sources that name no relations."""

GAPS: tuple[Missing, ...] = ("not found", "none fits")
"""Reasons that adding facts to a source can change."""

BEFORE, AFTER = 160, 60
"""Characters of the text before and after a call that a list shows."""

WORDS_BEFORE = 40
"""Calls for an unknown relation are counted together if these characters before them are equal."""


@dataclass
class RelationCounts:
    """Calls for one relation, and users' verdicts on its values."""

    relation: str
    calls: int = 0
    answered: int = 0
    missing: Counter[Missing] = field(default_factory=Counter)
    """Number of calls without an answer, by reason."""
    wrong: int = 0
    """Number of parts that users marked as wrong."""
    right: int = 0

    @property
    def unanswered(self) -> int:
        """Number of calls without an answer."""
        return self.calls - self.answered


def count_relations(answers: Sequence[RecordedAnswer]) -> list[RelationCounts]:
    """Return counts of all relations, those with the most calls first; own words come last."""
    found: dict[str, RelationCounts] = {}

    def of(relation: str) -> RelationCounts:
        return found.setdefault(relation, RelationCounts(relation))

    for answer in answers:
        for span in answer.record.spans:
            if not span.asked:
                continue
            counts = of(span.relation or UNKNOWN)
            counts.calls += 1
            counts.answered += span.borrowed
            if not span.borrowed:
                counts.missing[span.missing or ("failed" if span.fault else "not found")] += 1
        for verdict in answer.verdicts:
            for span in _judged(answer.record, verdict.start, verdict.end):
                counts = of(span.relation or UNKNOWN) if span.borrowed else of(OWN_WORDS)
                counts.wrong += verdict.verdict == "wrong"
                counts.right += verdict.verdict == "right"
    own = found.pop(OWN_WORDS, None)
    ordered = sorted(
        found.values(), key=lambda one: (-one.calls, one.relation == UNKNOWN, one.relation)
    )
    return [*ordered, *([own] if own else [])]


def _judged(record: AnswerRecord, start: int | None, end: int | None) -> list[SpanRecord]:
    """Return the span in which a judged part begins; for a whole answer, a span of own words."""
    if start is None or end is None:
        return [SpanRecord("slm", record.characters)]
    at = 0
    for span in record.spans:
        if at <= start < at + span.characters:
            return [span]
        at += span.characters
    return []


def unanswered_csv(answers: Sequence[RecordedAnswer]) -> tuple[str, int]:
    """Return a table of the facts that sources lack, the most frequent first, and its length.

    A row has the subject and relation where the source knows them and, if texts were kept, an
    example: the text before the call, and what the model wrote itself. ``value`` is empty, to be
    filled in. Calls of which neither is known are left out.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    examples: dict[tuple[str, ...], tuple[str, str]] = {}
    for answer in answers:
        record = answer.record
        for span, before, after in _in_context(record):
            if not span.asked or span.borrowed or span.missing not in GAPS:
                continue
            subject = span.subject or record.subject or ""
            if not (subject or before):
                continue
            # Without a relation, the words before the call say what is missing.
            words = "" if span.relation else before[-WORDS_BEFORE:]
            key = (subject, span.relation, span.missing, words)
            counts[key] += 1
            examples.setdefault(key, (before, after))
    rows = [
        (subject, relation, "", count, missing, *examples[subject, relation, missing, words])
        for (subject, relation, missing, words), count in counts.most_common()
    ]
    header = ("subject", "relation", "value", "count", "missing", "text_before", "model_wrote")
    return _csv(header, rows), len(rows)


def disputed_csv(answers: Sequence[RecordedAnswer]) -> tuple[str, int]:
    """Return a table of sources' values that users marked as wrong, and its length."""
    counts: Counter[tuple[str, ...]] = Counter()
    for answer in answers:
        for verdict in answer.verdicts:
            if verdict.verdict != "wrong" or verdict.start is None:
                continue
            for span in _judged(answer.record, verdict.start, verdict.end):
                if span.borrowed:
                    value, correct = (span.text or "").strip(), verdict.correct or ""
                    counts[
                        span.speaker, span.subject, span.relation, value, correct, span.evidence
                    ] += 1
    header = ("source", "subject", "relation", "value", "correct", "evidence", "count")
    rows = [(*key, count) for key, count in counts.most_common()]
    return _csv(header, rows), len(rows)


def _in_context(record: AnswerRecord) -> Iterator[tuple[SpanRecord, str, str]]:
    """Yield each span with the text before it, and its text with what follows, if kept."""
    text = record.text
    at = 0
    for span in record.spans:
        before = after = ""
        if text is not None:
            echoed = record.spans[0].speaker == "prompt"
            whole = text[:at] if echoed else (record.prompt or "") + text[:at]
            before = " ".join(whole[-BEFORE:].split())
            after = " ".join(text[at : at + AFTER].split())
        yield span, before, after
        at += span.characters


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV; cells that spreadsheets would read as formulas begin with a quote."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        cells = [str(cell) for cell in row]
        writer.writerow([f"'{cell}" if cell[:1] in "=+-@" and cell else cell for cell in cells])
    return stream.getvalue()
