"""What the network receives of a fact and its page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.judges.features import FactWords
from lacy.judges.network import FactBatch
from lacy.judges.pages import Page
from lacy.judges.pieces import Word, WordPieces

FACT_TOKENS = 48
"""Longest fact in tokens, with [CLS] and [SEP]; the rest is cut off."""

WINDOWS_PER_FACT = 3


@dataclass(frozen=True, slots=True)
class FactInput:
    """Tokens of a fact, their flags (``network.FLAGS``), and the windows chosen for it."""

    ids: tuple[int, ...]
    flags: tuple[int, ...]
    windows: tuple[int, ...]


def fact_input(
    fact: FactWords, topic: Collection[Word], page: Page, pieces: WordPieces
) -> FactInput:
    """Choose the windows for a fact, and flag where its words occur."""
    windows = page.choose_windows(fact.content, WINDOWS_PER_FACT)
    ids = fact.encoding.ids[: FACT_TOKENS - 2]
    flags = [0] * len(ids)
    for word, start, end in fact.placed:
        if word in topic:
            flag = 1
        elif any(page.in_windows.has(word, window) for window in windows):
            flag = 2
        elif word in page.in_windows:
            flag = 3
        else:
            flag = 4 if pieces.stem(word) in page.stems_in_windows else 5
        flags[start:end] = [flag] * (min(end, len(ids)) - min(start, len(ids)))
    return FactInput((pieces.cls, *ids, pieces.sep), (0, *flags, 0), tuple(windows))


def fact_batch(facts: Sequence[FactInput], windows: Sequence[tuple[int, ...]]) -> FactBatch:
    """Return facts of one page as tensors, with the windows that any of them uses.

    Args:
        facts: the facts.
        windows: all windows of the page.
    """
    used = used_windows(facts)
    place = {window: number for number, window in enumerate(used)}
    choice = [[place[window] for window in fact.windows] for fact in facts]
    return FactBatch(
        _padded([windows[window] for window in used], 0),
        _padded([fact.ids for fact in facts], 0),
        _padded([fact.flags for fact in facts], 0),
        _padded(choice, -1),
    )


def used_windows(facts: Sequence[FactInput]) -> list[int]:
    """Return the numbers of the windows that any of the facts uses, in order."""
    return sorted({window for fact in facts for window in fact.windows})


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
