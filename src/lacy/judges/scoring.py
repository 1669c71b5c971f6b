"""Runs the network: encodes windows once, and scores facts against them in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lacy.judges.cache import SizedCache
from lacy.judges.inputs import FactInput, fact_batch, used_windows
from lacy.judges.network import FactEncoder
from lacy.judges.pages import WINDOW

BATCH = 32
"""Facts that are scored together."""

CACHE_MB = 512
"""Memory for encoded windows; one window of MiniLM's size takes 1.8 MB."""


class FactScorer:
    """A network for facts and one for windows, with a cache of encoded windows.

    Args:
        facts: scores facts, in evaluation mode.
        windows: encodes windows; the same as ``facts`` or what it was tuned from.
        cache_mb: memory for encoded windows, in megabytes; 0 keeps none.
    """

    def __init__(
        self, facts: FactEncoder, windows: FactEncoder, cache_mb: float = CACHE_MB
    ) -> None:
        self._facts, self._windows = facts, windows
        self.cache: SizedCache[Tensor] = SizedCache(cache_mb * 1e6, lambda t: t.nbytes)

    @torch.inference_mode()
    def logits(
        self, facts: Sequence[FactInput], windows: Sequence[tuple[int, ...]]
    ) -> NDArray[np.float64]:
        """Return a logit per fact.

        Args:
            facts: facts of one page.
            windows: all windows of the page; only those that a fact has chosen are encoded.
        """
        # Facts of similar length together, in an order that does not depend on the caller's.
        order = sorted(range(len(facts)), key=lambda n: (len(facts[n].ids), facts[n].ids))
        found = np.zeros(len(facts))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            chosen = [facts[row] for row in rows]
            batch = fact_batch(chosen, windows)
            encoded = torch.stack([self._encoded(windows[w]) for w in used_windows(chosen)], 2)
            cached = [(layer[0], layer[1]) for layer in encoded]
            windows_WL = batch.windows_WL
            windows_WL = functional.pad(windows_WL, (0, WINDOW - windows_WL.shape[1]))
            found[rows] = self._facts.score_facts(cached, windows_WL, batch).numpy()
        return found

    def _encoded(self, window: tuple[int, ...]) -> Tensor:
        """Return the keys and values of a window in all layers ``[layers, 2, H, L, D/H]``.

        Each window is encoded by itself, so that its values never depend on its neighbours.
        """

        def encode() -> Tensor:
            layers = self._windows.encode_windows(torch.tensor([window]))
            stacked = torch.stack([torch.stack([keys[0], values[0]]) for keys, values in layers])
            return functional.pad(stacked, (0, 0, 0, WINDOW - len(window)))

        return self.cache.get(window, encode)
