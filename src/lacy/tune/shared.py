"""State that the steps of a tuning share: model, articles, settings, folder of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy._text import format_duration
from lacy.corpus import Encoded
from lacy.model import Loaded, model_fingerprint
from lacy.tune.articles import Articles
from lacy.tune.misses import calls_due, first_mentions
from lacy.tune.settings import TuneSettings
from lacy.tune.states import States, read_states
from lacy.tune.written_values import written_wrong

Notify = Callable[[str], object]


class Clock:
    """Announces the steps of a tuning and measures their times."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._begin = self._last = time.perf_counter()
        self._name = ""
        self._seconds: dict[str, float] = {}

    def step(self, name: str, detail: str) -> None:
        """Announce a step, and end the time of the previous one."""
        self._end()
        self._name = name
        elapsed = format_duration(self._last - self._begin)
        self._notify(f"{name} ({elapsed}): {detail}")

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each step so far, and the processor time of all."""
        self._end()
        found = {name: round(value, 2) for name, value in self._seconds.items()}
        return {**found, "processor": round(time.process_time(), 2)}

    def _end(self) -> None:
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True)
class Labelled:
    """The states of some articles, and where calls are due."""

    table: States
    due_N: NDArray[np.bool_]
    missed_N: NDArray[np.bool_]
    """True where the model gets the first mention of a value wrong."""


@dataclass
class Tuning:
    """A tuning in progress."""

    loaded: Loaded
    name: str
    """The model's name as the user gave it."""
    articles: Articles
    settings: TuneSettings
    out: Path
    folder: Path
    """Where states, marks and packed data are stored."""
    device: torch.device
    bf16: bool
    why: str
    """Why the states are computed in this precision."""
    clock: Clock
    notify: Notify
    progress: bool

    @property
    def precision(self) -> str:
        """The precision of the states."""
        return "bf16" if self.bf16 else "fp32"

    def label(self, articles: Sequence[Encoded]) -> Labelled:
        """Compute the states of articles with the unchanged model, and find where calls are due."""
        settings, loaded = self.settings, self.loaded
        where = f"{self.precision} on {self.device.type}: {self.why}"
        self.clock.step("Hidden states", where)
        loaded.model.to(self.device)  # type: ignore[arg-type]
        options: Any = {
            "fingerprint": model_fingerprint(loaded.model),
            "bf16": self.bf16,
            "progress": self.progress,
        }
        table, computed = read_states(loaded.model, articles, self.folder, **options)
        if computed < len(articles):
            done = len(articles) - computed
            self.notify(f"States of {done} articles were in {self.folder} already.")
        wrong_N = None
        if settings.target == "miss":
            self.clock.step("Writing", "the model continues the articles where values begin")
            wrong_N = written_wrong(
                loaded.model, articles, loaded.tokenizer, self.folder, **options
            )
        first_N = first_mentions(articles, loaded.tokenizer)
        due_N = calls_due(settings.target, table, first_N, wrong_N, settings.call_rate)
        missed_N = due_N if settings.target == "miss" else table.is_start & first_N & ~table.right_N
        return Labelled(table, due_N, missed_N)

    def embedding(self) -> NDArray[np.float32]:
        """Return the model's input embedding, for the controls."""
        weight_VD: Any = self.loaded.model.get_input_embeddings().weight  # type: ignore[union-attr]
        embedding_VD: NDArray[np.float32] = weight_VD.detach().float().cpu().numpy()
        return embedding_VD
