"""Make marked training texts from the records of served answers and users' verdicts.

An annotator marks the texts as it marks articles. What happened and what users said is better
evidence and replaces its opinion:

- a value that a source returned is marked: the model called, and should;
- the model's own words that a user marked as wrong are marked: it should have called. If the user
  gave the right value, it replaces them;
- the model's own words that a user confirmed are not marked: it need not call;
- a call without an answer adds no mark. Where the annotator finds a value, the call was due and the
  source had a gap; elsewhere the model called for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from lacy.annotate import AnnotateConfig
from lacy.annotate.grammar import trim_value
from lacy.records import RecordedAnswer, UserVerdict
from lacy.tune.articles import Notify, mark_documents
from lacy.types import Document, Mark, Reason

MAX_VALUE_WORDS = 8
"""Maximum number of words of a value; a longer part that a user marks as wrong is a passage, in
which the annotator's values count."""


PUNCTUATION = " \n\t.,;:!?"
"""Signs after a value that a selection with the mouse often contains."""


@dataclass(frozen=True)
class ServedTexts:
    """Training texts made of answers, and where their marks come from."""

    documents: list[Document]
    labels: Counter[str]
    """Number of places by what they are: ``borrowed``, ``wrong``, ``confirmed``, ``gap`` (a call
    without an answer at a value), ``nothing`` (a call without an answer elsewhere)."""
    repeated: int = 0
    """Number of answers whose text another one has too."""
    without_values: int = 0
    """Number of texts without any mark, which are left out."""


@dataclass
class _Draft:
    """A text before it is annotated, with what is known about its parts."""

    document: Document
    values: list[Mark] = field(default_factory=list)
    """Parts that are values for sure."""
    passages: list[tuple[int, int]] = field(default_factory=list)
    """Longer parts that a user marked as wrong."""
    confirmed: list[tuple[int, int]] = field(default_factory=list)
    """Own words that a user confirmed."""
    unanswered: list[int] = field(default_factory=list)
    """Positions of calls without an answer."""
    labels: Counter[str] = field(default_factory=Counter)


def served_texts(
    answers: Sequence[RecordedAnswer],
    marks: Path,
    annotate: AnnotateConfig | None = None,
    *,
    notify: Notify = lambda sentence: None,
    progress: bool = True,
) -> ServedTexts:
    """Return training texts made of the answers whose texts were kept.

    Args:
        answers: the answers with the verdicts of users.
        marks: folder for the annotator's marks.
        annotate: the annotator's settings.
        notify: called with a sentence for each automatic choice.
        progress: show a progress bar on a terminal.

    Raises:
        LacyError: E163, most texts are in another language than the annotator's.
    """
    found = [draft for answer in answers if (draft := _draft(answer)) is not None]
    drafts = _without_repetitions(found)
    if not drafts:
        return ServedTexts([], Counter())
    documents, _ = mark_documents(
        [draft.document for draft in drafts], marks, annotate or AnnotateConfig(), notify, progress
    )
    by_id = {document.id: document.marks for document in documents}
    labels, texts = Counter[str](), []
    for draft in drafts:
        if draft.document.id not in by_id:  # in another language
            continue
        text = _marked(draft, by_id[draft.document.id])
        labels += draft.labels
        if text.marks:
            texts.append(text)
    left_out = len(documents) - len(texts)
    return ServedTexts(texts, labels, len(found) - len(drafts), left_out)


def _draft(answer: RecordedAnswer) -> _Draft | None:
    """Return the text of an answer with its prompt; None if it was not kept."""
    record = answer.record
    text, prompt = record.text, record.prompt
    if text is None or prompt is None:
        return None
    echoed = sum(span.characters for span in record.spans if span.speaker == "prompt")
    edits = _Edits(prompt, text[echoed:], len(prompt) - echoed)
    draft = _Draft(Document(f"{record.id}:{record.choice}", ""))
    own, borrowed, at = [], [], 0
    for span in record.spans:
        end = at + span.characters
        if span.borrowed:
            borrowed.append((at, end, span.relation))
        elif span.speaker != "prompt":
            own.append((at, end))
            if span.asked:
                draft.unanswered.append(at)
        at = end
    wrong: list[tuple[int, int]] = []
    for verdict in _latest(answer.verdicts):
        if verdict.start is None or verdict.end is None:
            if verdict.verdict == "right":
                draft.confirmed += own
            continue
        part = _whole_words(text, verdict.start, verdict.end)
        if verdict.verdict == "wrong":
            wrong.append(part)
            if verdict.correct:
                edits.replace(*part, verdict.correct)
        else:
            draft.confirmed += _common(part, own)
    final, moved = edits.apply()
    draft.confirmed = [moved(*part) for part in draft.confirmed]
    draft.unanswered = [moved(at, at)[0] for at in draft.unanswered]
    for start, end, relation in borrowed:
        draft.values.append(_value(final, *moved(start, end), relation))
        draft.labels["borrowed"] += 1
    for part in wrong:
        _add_wrong(draft, final, *moved(*part), any(_common(part, [b[:2] for b in borrowed])))
    title = record.subject or next((s.subject for s in record.spans if s.subject), "")
    meta = {"title": title} if title else {}
    draft.document = replace(draft.document, text=final, meta=meta)
    return draft


def _add_wrong(draft: _Draft, text: str, start: int, end: int, borrowed: bool) -> None:
    """Add a part that a user marked as wrong; a borrowed value is marked already."""
    if borrowed:
        return
    draft.labels["wrong"] += 1
    if len(text[start:end].split()) > MAX_VALUE_WORDS:
        draft.passages.append((start, end))
        return
    end = start + len(text[start:end].rstrip(PUNCTUATION))
    if (value := _value(text, start, end)).end > value.start:
        draft.values.append(value)


def _value(text: str, start: int, end: int, relation: str = "") -> Mark:
    """Return a mark on a value without the spaces and signs around it."""
    start += len(text[start:end]) - len(text[start:end].lstrip())
    end -= len(text[start:end]) - len(text[start:end].rstrip())
    start, end = trim_value(text, start, end)
    reason: Reason = relation if relation in get_args(Reason) else "VALUE"  # type: ignore[assignment]
    return Mark(start, end, reason, relation or None)


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Extend a part to whole words, because a selection with the mouse may cut them."""
    while 0 < start < len(text) and text[start - 1 : start + 1].isalnum():
        start -= 1
    while 0 < end < len(text) and text[end - 1 : end + 1].isalnum():
        end += 1
    return start, end


def _marked(draft: _Draft, marks: Sequence[Mark]) -> Document:
    """Return the text with the annotator's marks, corrected by what is known."""
    values = _distinct(draft.values)
    kept = []
    for mark in marks:
        span = (mark.start, mark.end)
        if mark.reason == "CONTENT":
            kept.append(mark)
        elif _common(span, [(v.start, v.end) for v in values]):
            continue
        elif any(a <= mark.start < b for a, b in draft.confirmed) and not any(
            a <= mark.start < b for a, b in draft.passages
        ):
            draft.labels["confirmed"] += 1
        else:
            kept.append(mark)
    values = [replace(v, reason=_reason(v, marks)) for v in values]
    facts = [mark for mark in kept if mark.reason != "CONTENT"] + values
    text = draft.document.text
    for at in draft.unanswered:
        first = at + len(text[at:]) - len(text[at:].lstrip())
        due = any(mark.start <= first < mark.end for mark in facts)
        draft.labels["gap" if due else "nothing"] += 1
    content = [m for m in kept if m.reason == "CONTENT"]
    clear = [
        m for m in content if not _common((m.start, m.end), [(v.start, v.end) for v in values])
    ]
    return replace(draft.document, marks=tuple(sorted([*facts, *clear])))


def _reason(value: Mark, marks: Sequence[Mark]) -> Reason:
    """Return the annotator's reason for a value of which nothing more is known."""
    if value.reason != "VALUE":
        return value.reason
    over = (m for m in marks if m.start < value.end and value.start < m.end)
    return next((mark.reason for mark in over if mark.reason != "CONTENT"), "VALUE")


def _distinct(values: Sequence[Mark]) -> list[Mark]:
    """Return marks without overlaps; earlier ones win (those of sources come first)."""
    kept: list[Mark] = []
    for value in values:
        if value.end > value.start and not _common(
            (value.start, value.end), [(k.start, k.end) for k in kept]
        ):
            kept.append(value)
    return kept


def _common(part: tuple[int, int], others: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the intersections of a part with others."""
    found = [(max(part[0], a), min(part[1], b)) for a, b in others]
    return [(a, b) for a, b in found if a < b]


def _latest(verdicts: Sequence[UserVerdict]) -> list[UserVerdict]:
    """Return the last verdict on each part."""
    return list({(v.start, v.end): v for v in verdicts}.values())


def _without_repetitions(drafts: Sequence[_Draft]) -> list[_Draft]:
    """Return one draft per text: that with the most known parts."""
    best: dict[str, _Draft] = {}
    for draft in drafts:
        text = draft.document.text
        if text not in best or _known(draft) > _known(best[text]):
            best[text] = draft
    return list(best.values())


def _known(draft: _Draft) -> int:
    return len(draft.values) + len(draft.passages) + len(draft.confirmed)


class _Edits:
    """Replacements in an answer, and where its parts are afterwards.

    Args:
        prompt: the text before the answer, which is not changed.
        answer: the answer.
        shift: position of the answer's character 0 in the whole text.
    """

    def __init__(self, prompt: str, answer: str, shift: int) -> None:
        self._text, self._shift = prompt + answer, shift
        self._edits: list[tuple[int, int, str]] = []

    def replace(self, start: int, end: int, value: str) -> None:
        """Replace a part, but not its leading space; parts that overlap an earlier one stay."""
        start, end = start + self._shift, end + self._shift
        if _common((start, end), [edit[:2] for edit in self._edits]):
            return
        old = self._text[start:end]
        before, after = old[: len(old) - len(old.lstrip())], old[len(old.rstrip()) :]
        self._edits.append((start, end, before + value.strip() + after))

    def apply(self) -> tuple[str, _Moved]:
        """Return the new text, and a function from old to new positions."""
        edits = sorted(self._edits)
        text = self._text
        for start, end, value in reversed(edits):
            text = text[:start] + value + text[end:]
        return text, _Moved(edits, self._shift)


@dataclass(frozen=True)
class _Moved:
    """Where parts of an answer are in the text after replacements."""

    edits: list[tuple[int, int, str]]
    shift: int

    def __call__(self, start: int, end: int) -> tuple[int, int]:
        """Return the new positions of a part of the answer."""
        return self._at(start + self.shift, False), self._at(end + self.shift, True)

    def _at(self, place: int, is_end: bool) -> int:
        moved = 0
        for start, end, value in self.edits:
            if place >= end:
                moved += len(value) - (end - start)
            elif place > start:  # inside a replaced part
                return start + moved + (len(value) if is_end else 0)
        return place + moved
