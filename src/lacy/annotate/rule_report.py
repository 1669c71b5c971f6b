"""Measure the rules: share of marked tokens, agreement with a judge, calibration to a share.

The paper reports one number for its rules: they mark 25% of sub-word tokens on Wikipedia (§4).
``rule_shares`` measures each switch off and alone, ``calibrate_rules`` adjusts the switches to a
target, and ``agreement`` compares marks with a judge's labels word by word.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lacy.annotate.align import token_flags, token_spans
from lacy.annotate.config import MARKING, PAPER_SHARE, UNMARKING, Rules
from lacy.annotate.spacy_rules import SpacyAnnotator
from lacy.errors import LacyError
from lacy.types import Document, Mark, MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FLIPPABLE = ("keywords", "unmark_subject", "unmark_seen", "unmark_inside")
"""Switches that ``calibrate_rules`` may change; the others define what a fact is (our choice)."""

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TokenShare:
    """Number of tokens that a set of rules marks as facts, value starts and content words."""

    name: str
    rules: Rules
    tokens: int
    facts: int
    starts: int
    content: int

    @property
    def share(self) -> float:
        """Fact tokens per token; 0.0 for no tokens."""
        return self.facts / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class MarkAgreement:
    """Counts of words marked by an annotator, by a judge, and by both; undefined ratios are 0.0."""

    both: int
    marked: int
    judged: int

    @property
    def precision(self) -> float:
        """Share of the marked words that the judge marks too."""
        return self.both / self.marked if self.marked else 0.0

    @property
    def recall(self) -> float:
        """Share of the judge's words that are marked."""
        return self.both / self.judged if self.judged else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.marked + self.judged
        return 2 * self.both / total if total else 0.0


class ParsedDocuments:
    """Documents parsed and tokenized once, so that many rules can be tried on them.

    Args:
        documents: texts to measure on; ``meta["title"]`` is used as subject, if present.
        annotator: its pipeline parses the texts; create it with every switch on that you want to
            try.
        tokenizer: any fast tokenizer; shares count its tokens.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        annotator: SpacyAnnotator,
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        self.documents = list(documents)
        self.rules = annotator.rules
        texts = [document.text for document in self.documents]
        self.parsed = list(annotator.parse(texts))
        self.encodings = list(token_spans(tokenizer, texts))
        self.tokens = sum(len(encoding.ids) for encoding in self.encodings)

    def marks(self, rules: Rules) -> list[list[Mark]]:
        """Return the marks of every document under ``rules``."""
        from lacy.annotate.rules import mark

        return [
            mark(doc, rules, text=d.text, scores_TL=scores, subject=d.meta.get("title"))
            for d, (doc, scores) in zip(self.documents, self.parsed, strict=True)
        ]

    def share(self, rules: Rules, name: str = "") -> TokenShare:
        """Return the share of tokens that ``rules`` mark."""
        facts = starts = content = 0
        marks = self.marks(rules)
        for document, found, encoding in zip(self.documents, marks, self.encodings, strict=True):
            flags = token_flags(found, document.text, encoding)
            facts += int(((flags & MarkFlag.FACT) > 0).sum())
            starts += int(((flags & MarkFlag.START) > 0).sum())
            content += int(((flags & MarkFlag.CONTENT) > 0).sum())
        return TokenShare(name, rules, self.tokens, facts, starts, content)


def rule_shares(parsed: ParsedDocuments, rules: Rules | None = None) -> list[TokenShare]:
    """Measure the share with ``rules``, then with each switch flipped, then with each one alone.

    Rows are named ``all``, ``keywords off``, ``unmark_inside on``, ``keywords alone`` and so on.
    "Alone" is without ``unmark_seen`` and ``unmark_subject``. Default: the annotator's rules.
    """
    rules = rules or parsed.rules
    rows = [parsed.share(rules, "all")]
    for switch in (*MARKING, *UNMARKING):
        state = getattr(rules, switch)
        other = rules.with_switches({switch: not state})
        rows.append(parsed.share(other, f"{switch} {'off' if state else 'on'}"))
    independent = replace(rules, unmark_seen=False, unmark_subject=False)
    rows += [parsed.share(independent.only(switch), f"{switch} alone") for switch in MARKING]
    return rows


def calibrate_rules(
    parsed: ParsedDocuments,
    rules: Rules | None = None,
    target: float = PAPER_SHARE,
    *,
    tolerance: float = 0.005,
) -> TokenShare:
    """Change switches, then the learned threshold, until the share is near the target.

    All combinations of ``FLIPPABLE`` are tried (fewest changes first); the nearest share wins. If
    it is not within ``tolerance`` and there is a learned component, its threshold is bisected.

    Returns:
        The best rules found and their share, which may still miss the target.

    Raises:
        LacyError: E12, the target is not between 0 and 1.
    """
    if not 0.0 < target < 1.0:
        why = "it is a share of tokens"
        raise LacyError("E12", key="target", value=target, why=why, do="give 0.25, say")
    rules = rules or parsed.rules
    best = parsed.share(rules, "calibrated")
    for count in range(1, len(FLIPPABLE) + 1):
        if abs(best.share - target) <= tolerance:
            return best
        for names in itertools.combinations(FLIPPABLE, count):
            flipped = {name: not getattr(rules, name) for name in names}
            found = parsed.share(rules.with_switches(flipped), "calibrated")
            best = min(best, found, key=lambda share: abs(share.share - target))
    if abs(best.share - target) > tolerance and any(s is not None for _, s in parsed.parsed):
        best = _bisect(parsed, replace(best.rules, learned=True), best, target, tolerance)
    return best


def _bisect(
    parsed: ParsedDocuments, rules: Rules, best: TokenShare, target: float, tolerance: float
) -> TokenShare:
    """Bisect the threshold of the learned component; a lower threshold marks more."""
    low, high = 0.0, 1.0
    for _ in range(8):  # to 1/256 of the threshold's range
        middle = (low + high) / 2
        found = parsed.share(replace(rules, learned_threshold=round(middle, 4)), "calibrated")
        best = min(best, found, key=lambda share: abs(share.share - target))
        if abs(found.share - target) <= tolerance:
            break
        low, high = (middle, high) if found.share > target else (low, middle)
    return best


def agreement(
    judged: Sequence[Document], marks: Sequence[Sequence[Mark]]
) -> dict[str, MarkAgreement]:
    """Compare marks with a judge's labels, word by word.

    Args:
        judged: documents with the judge's marks.
        marks: another annotator's marks of the same texts; ``CONTENT`` is ignored.

    Returns:
        The agreement for ``all``, and for each reason: the words with that reason against all of
        the judge's words, so a reason's recall is its share of everything the judge marked.
    """
    both: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    total = 0
    for document, found in zip(judged, marks, strict=True):
        words = [match.span() for match in WORD.finditer(document.text)]
        theirs = _marked_words(words, document.marks)
        ours = _marked_words(words, [mark for mark in found if mark.reason != "CONTENT"])
        total += len(theirs)
        for word, reason in ours.items():
            for name in ("all", reason):
                marked[name] += 1
                both[name] += word in theirs
    return {name: MarkAgreement(both[name], marked[name], total) for name in sorted(marked)}


def _marked_words(words: Sequence[tuple[int, int]], marks: Iterable[Mark]) -> dict[int, str]:
    """Map the index of each word that a mark touches to the mark's reason; inputs are sorted."""
    covered: dict[int, str] = {}
    at = 0
    for mark in marks:
        while at < len(words) and words[at][1] <= mark.start:
            at += 1
        place = at
        while place < len(words) and words[place][0] < mark.end:
            covered[place] = mark.reason
            place += 1
    return covered
