"""Inspect marks before training on them: shares, misalignments, coloured samples.

Answers three questions: is the share of fact tokens near the paper's 25% (LaCy §4, Wikipedia)? Do
marks begin and end at token boundaries? Are the marks where a person would put them?
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy.annotate.align import strip_mark, token_flags, token_spans, value_ranges
from lacy.annotate.config import PAPER_SHARE
from lacy.corpus import Encoding, PackedData, decode
from lacy.types import Document, Mark, MarkFlag

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text
    from transformers import PreTrainedTokenizerFast

EXAMPLES_KEPT = 20
SAMPLE_CHARACTERS = 600
ROWS_AT_ONCE = 4096

STYLES = {
    MarkFlag.VALUE: "black on bright_green",
    MarkFlag.DATE: "black on bright_yellow",
    MarkFlag.ENTITY: "black on bright_cyan",
    MarkFlag.NUMBER: "black on bright_magenta",
    MarkFlag.KEYWORD: "black on white",
    MarkFlag.CONTENT: "italic blue",
}
"""Colours; if a token has several flags, the first in this order wins."""


@dataclass(frozen=True, slots=True)
class Straddle:
    """A fact token that also contains characters outside every mark."""

    document: str
    token: str
    start: int
    end: int
    marked: str
    """The part of the token that is marked."""


@dataclass
class MarkCheck:
    """The result of ``check_marks``; rich prints it as tables and coloured samples."""

    documents: int = 0
    unmarked: int = 0
    """Number of documents (or rows of packed data) without a fact token."""
    tokens: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    """Number of tokens with each flag."""
    straddles: int = 0
    examples: list[Straddle] = field(default_factory=list)
    outside: int = 0
    """Marks beyond the end of their text; they are ignored."""
    blank: int = 0
    """Marks of white space only; they mark no token."""
    merged: int = 0
    """Marks that overlap another one and count as one value with it."""
    inconsistent: int = 0
    """Packed tokens with contradictory flags, or padding with flags."""
    samples: list[tuple[str, list[tuple[str, int]]]] = field(default_factory=list)
    """Pairs of a document's name and the parts of its text with their flags."""

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of tokens with each flag."""
        return {
            str(flag.name): self.flags[str(flag.name)] / max(1, self.tokens) for flag in MarkFlag
        }

    @property
    def sound(self) -> bool:
        """True if no mark is misplaced and no flags contradict each other."""
        return not (self.outside or self.blank or self.inconsistent)

    def __rich__(self) -> Group:
        """Return tables and samples for a rich console."""
        from rich.console import Group

        parts = [_share_table(self), _problem_table(self), *_sample_texts(self)]
        return Group(*(part for part in parts if part is not None))


def check_marks(
    source: PackedData | Iterable[Document],
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    samples: int = 3,
) -> MarkCheck:
    """Count marks and collect samples.

    Args:
        source: documents with marks (read once, as a stream), or packed data. Straddling tokens
            and misplaced marks can be seen only in documents; packed data is checked for
            contradictory flags.
        tokenizer: needed for documents.
        samples: how many marked documents (or rows) to keep as samples.

    Raises:
        ValueError: documents without a tokenizer.
    """
    check = MarkCheck()
    if isinstance(source, PackedData):
        _check_packed(source, check, samples)
        return check
    if tokenizer is None:
        raise ValueError("documents need a tokenizer to count tokens")
    stream = iter(source)
    while group := list(itertools.islice(stream, 256)):
        encodings = token_spans(tokenizer, [document.text for document in group])
        for document, encoding in zip(group, encodings, strict=True):
            _check_document(document, encoding, check, samples)
    return check


def _check_document(document: Document, encoding: Encoding, check: MarkCheck, samples: int) -> None:
    length = len(document.text)
    fitting = [mark for mark in document.marks if 0 <= mark.start <= mark.end <= length]
    ranges = [(*strip_mark(mark, document.text), mark) for mark in fitting]
    visible = [item for item in ranges if item[0] < item[1]]
    facts = [item for item in visible if item[2].reason != "CONTENT"]
    flags = token_flags(fitting, document.text, encoding)
    check.documents += 1
    check.outside += len(document.marks) - len(fitting)
    check.blank += len(fitting) - len(visible)
    check.merged += len(facts) - len(value_ranges(facts))
    _count(flags, check)
    _find_straddles(document, encoding, flags, facts, check)
    if not (flags & MarkFlag.FACT).any():
        check.unmarked += 1
    elif len(check.samples) < samples:
        check.samples.append((document.id, list(_flagged_text(document.text, encoding, flags))))


def _find_straddles(
    document: Document,
    encoding: Encoding,
    flags: NDArray[np.uint8],
    facts: list[tuple[int, int, Mark]],
    check: MarkCheck,
) -> None:
    """Find fact tokens with a visible character outside every fact mark."""
    text = document.text
    loose = np.fromiter((not char.isspace() for char in text), bool, len(text))
    for start, end, _ in facts:
        loose[start:end] = False
    for token in np.flatnonzero(flags & MarkFlag.FACT):
        start, end = encoding.offsets[token]
        if not loose[start:end].any():
            continue
        check.straddles += 1
        if len(check.examples) < EXAMPLES_KEPT:
            marked = "".join(
                text[max(start, low) : min(end, high)]
                for low, high in value_ranges(facts)
                if low < end and high > start
            )
            check.examples.append(Straddle(document.id, text[start:end], start, end, marked))


def _flagged_text(
    text: str, encoding: Encoding, flags: NDArray[np.uint8]
) -> Iterator[tuple[str, int]]:
    """Yield each token's text with its flags, as training sees them."""
    at = 0
    for (start, end), flag in zip(encoding.offsets, flags.tolist(), strict=True):
        start = max(start, at)  # the bytes of one character share its place
        if start >= SAMPLE_CHARACTERS:
            break
        if end > start:
            if start > at:
                yield text[at:start], 0
            yield text[start:end], flag
            at = end
    if at < len(text):
        yield "…", 0


def _check_packed(data: PackedData, check: MarkCheck, samples: int) -> None:
    check.documents = data.info.documents
    for block in data.blocks():
        for start in range(0, len(block["marks"]), ROWS_AT_ONCE):
            part = {name: column[start : start + ROWS_AT_ONCE] for name, column in block.items()}
            _check_rows(part, data, check, samples)


def _check_rows(
    rows: dict[str, NDArray[Any]], data: PackedData, check: MarkCheck, samples: int
) -> None:
    real = rows["segments"] > 0
    marks = rows["marks"]
    _count(marks[real], check)
    fact = (marks & MarkFlag.FACT) != 0
    reasons = MarkFlag.ENTITY | MarkFlag.DATE | MarkFlag.NUMBER | MarkFlag.KEYWORD | MarkFlag.VALUE
    wrong = (marks != 0) & ~real
    wrong |= fact & ((marks & MarkFlag.CONTENT) != 0)
    wrong |= ~fact & ((marks & (MarkFlag.START | reasons)) != 0)
    wrong |= fact & ((marks & reasons) == 0)
    check.inconsistent += int(wrong.sum())
    marked = fact.any(axis=1)
    check.unmarked += int((~marked).sum())
    for row in np.flatnonzero(marked)[: samples - len(check.samples)]:
        pieces = list(_decode_runs(rows["input_ids"][row], marks[row], real[row], data))
        check.samples.append((f"row with {int(rows['segments'][row].max())} segments", pieces))


def _decode_runs(
    ids: NDArray[np.int32], marks: NDArray[np.uint8], real: NDArray[np.bool_], data: PackedData
) -> Iterator[tuple[str, int]]:
    """Decode each run of tokens with equal flags into text; a new value begins a new run."""
    shown = 0
    flags = (marks[real] & ~np.uint8(MarkFlag.START)).tolist()
    starts = ((marks[real] & MarkFlag.START) != 0).cumsum().tolist()
    tokens = zip(ids[real].tolist(), flags, starts, strict=True)
    for (flag, _), run in itertools.groupby(tokens, key=lambda item: item[1:]):
        text = decode(data.tokenizer, [token for token, _, _ in run])
        yield text, flag
        shown += len(text)
        if shown >= SAMPLE_CHARACTERS:
            yield "…", 0
            return


def _count(flags: NDArray[np.uint8], check: MarkCheck) -> None:
    check.tokens += flags.size
    for flag in MarkFlag:
        check.flags[str(flag.name)] += int(np.count_nonzero(flags & np.uint8(flag)))


def _share_table(check: MarkCheck) -> Any:
    from rich.table import Table

    title = f"{check.tokens:,} tokens in {check.documents:,} documents"
    table = Table("flag", "tokens", "share", title=title)
    for name, share in check.shares.items():
        note = f"  (paper, Wikipedia: {PAPER_SHARE:.0%})" if name == "FACT" else ""
        table.add_row(name, f"{check.flags[name]:,}", f"{share:.2%}{note}")
    return table


def _problem_table(check: MarkCheck) -> Any:
    """Return a table of problems with their first examples; None if there are none."""
    from rich.table import Table
    from rich.text import Text

    counts = {
        "tokens that straddle the edge of a mark": check.straddles,
        "marks outside their text": check.outside,
        "marks without a visible character": check.blank,
        "marks merged with an overlapping one": check.merged,
        "packed tokens with contradicting flags": check.inconsistent,
        "documents or rows without a fact": check.unmarked,
    }
    if not any(counts.values()):
        return None
    table = Table("to look at", "count", "first examples")
    shown = [f"{item.token!r} (marked: {item.marked!r})" for item in check.examples[:5]]
    for name, count in counts.items():
        examples = ", ".join(shown) if name.startswith("tokens that straddle") else ""
        if count:
            table.add_row(name, f"{count:,}", Text(examples))
    return table


def _sample_texts(check: MarkCheck) -> Iterator[Text]:
    from rich.text import Text

    for name, pieces in check.samples:
        text = Text.assemble((f"\n{name}\n", "bold"))
        for piece, flag in pieces:
            style = next((style for bit, style in STYLES.items() if flag & bit), None)
            text.append(piece, style=style)
        yield text
    if check.samples:
        legend = Text("\n")
        for bit, style in STYLES.items():
            legend.append(f" {bit.name} ", style=style).append(" ")
        yield legend
