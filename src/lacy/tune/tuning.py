"""Tune a model: read articles, compute states, fit, measure, and write the model's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lacy._require import require_one_of, require_share
from lacy._text import format_duration
from lacy.annotate import AnnotateConfig
from lacy.corpus import ReadReport
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.evaluate import as_data
from lacy.model import (
    FINGERPRINT,
    Loaded,
    bf16_is_fast,
    load_model,
    model_fingerprint,
    save_model,
    set_gate,
)
from lacy.run import environment, write_atomic
from lacy.tune.articles import read_articles, texts_digest
from lacy.tune.card import model_card
from lacy.tune.figures import TuneFigures, limit_at
from lacy.tune.gate import fit_row
from lacy.tune.measure import measure
from lacy.tune.misses import calls_due, first_mentions
from lacy.tune.settings import Depth, Target
from lacy.tune.states import read_states
from lacy.tune.writing import written_wrong
from lacy.types import Document

Notify = Callable[[str], object]

THRESHOLD_RATES = (0.05, 0.09, 0.11, 0.15, 0.22)
"""Shares of positions for which thresholds of the gate are stored."""

REPORT_FILE = "tune.json"
"""File in the model's folder with all figures."""


@dataclass(frozen=True)
class TuneResult:
    """A tuned model, and what was measured."""

    loaded: Loaded
    """The model with its new row, ready for an ``Engine``."""
    path: Path
    """Its folder."""
    row_D: NDArray[np.float64]
    """The fitted row."""
    figures: TuneFigures
    meta: dict[str, Any]
    """The entry ``tune`` of ``lacy.json``."""
    notes: tuple[str, ...] = ()
    """Sentences about automatic choices and problems."""


def tune(
    model: str | Path | Loaded,
    data: str | Path | Iterable[Document],
    *,
    out: str | Path,
    depth: Depth = "row",
    target: Target = "where",
    articles: int = 200,
    tokens: int = 256,
    inverse_penalty: float = 0.01,
    call_rate: float = 0.22,
    seed: int = 0,
    annotate: AnnotateConfig | None = None,
    states: str | Path | None = None,
    device: str = "auto",
    report: ReadReport | None = None,
    notify: Notify = lambda sentence: None,
    progress: bool = True,
    **reading: Any,
) -> TuneResult:
    """Teach a pretrained model to call where a value begins, and write it as a new folder.

    The ``<CALL>`` row is fitted as a sigmoid gate on hidden states of the frozen model, so that its
    text does not change. All figures come from articles that the row which scores them has not been
    fitted on: the articles are split into ten groups, and each group is scored by a row fitted on
    others. The final row is fitted on all articles.

    Args:
        model: name of a causal language model as in ``load_model``, or an open model.
        data: articles as in ``lacy.corpus.read``, packed data, or documents. Documents without
            marks are marked by spaCy and the rules.
        out: folder of the tuned model.
        depth: how much is trained.
        target: where the model should call, see ``TuneSettings``.
        articles: maximum number of articles to use.
        tokens: maximum number of tokens per article.
        inverse_penalty: C of the logistic regression.
        call_rate: share of tokens at which a call is due, for the target ``value``.
        seed: seed of the choice of articles and of the groups.
        annotate: settings of the annotator.
        states: folder for hidden states and marks; by default ``out`` with ``-states``.
        device: ``auto`` or ``cpu``.
        report: filled with what was skipped while reading.
        notify: called with a sentence for each step and each automatic choice.
        progress: show progress bars on a terminal.
        reading: further arguments of ``lacy.corpus.read``.

    Raises:
        LacyError: E12, a setting is invalid; E150, another tuning writes to ``out``; E162-E165, the
            articles cannot be used; and the errors of ``load_model``, ``read`` and
            ``save_model``.
    """
    require_one_of("depth", depth, ("row",))
    require_one_of("target", target, get_args(Target))
    require_share("call_rate", call_rate)
    if articles < 1 or tokens < 2 or inverse_penalty <= 0:
        why = "articles and tokens are at least 1 and 2, inverse_penalty above 0"
        raise LacyError(
            "E12", key="tune", value=(articles, tokens, inverse_penalty), why=why,
            do="see lacy tune --help",
        )  # fmt: skip
    out = Path(out)
    folder = Path(states) if states is not None else out.with_name(f"{out.name}-states")
    clock = _Clock(notify)
    with lock(folder):
        clock.step("Model", str(getattr(model, "path", model)))
        loaded, notes = _open(model)
        for sentence in notes:
            notify(sentence)
        clock.step("Articles", str(data) if isinstance(data, str | Path) else "documents")
        found = read_articles(
            data, loaded.tokenizer, articles=articles, tokens=_within(loaded, tokens), seed=seed,
            marks=folder, annotate=annotate, report=report, notify=notify, progress=progress,
            **reading,
        )  # fmt: skip
        device_used = _device(device)
        fast, why = bf16_is_fast(device_used)
        precision = "bf16" if fast else "fp32"
        clock.step("Hidden states", f"{precision} on {device_used.type}: {why}")
        loaded.model.to(device_used)  # type: ignore[arg-type]
        fingerprint = model_fingerprint(loaded.model)
        table, computed = read_states(
            loaded.model,
            found.encoded,
            folder,
            fingerprint=fingerprint,
            bf16=fast,
            progress=progress,
        )
        if computed < len(found):
            notify(f"States of {len(found) - computed} articles were in {folder} already.")
        wrong_N = None
        if target == "miss":
            clock.step("Writing", "the model continues the articles where values begin")
            wrong_N = written_wrong(
                loaded.model, found.encoded, loaded.tokenizer, folder, fingerprint=fingerprint,
                bf16=fast, progress=progress,
            )  # fmt: skip
        first_N = first_mentions(found.encoded, loaded.tokenizer)
        due_N = calls_due(target, table, first_N, wrong_N, call_rate)
        missed_N = due_N if target == "miss" else table.is_start & first_N & ~table.right_N
        clock.step("Fit", f"{len(table):,} tokens of {len(found)} articles, {due_N.sum():,} due")
        embedding_VD = loaded.model.get_input_embeddings().weight.detach().float().cpu().numpy()  # type: ignore[union-attr]
        figures, gate_N, gate_entropy = measure(
            table, due_N, missed_N, embedding_VD, inverse_penalty, seed
        )
        row_D = fit_row(table.hidden_ND, due_N, inverse_penalty)
        _install(loaded, row_D)
        clock.step("Save", str(out))
        meta = {
            "depth": depth,
            "target": target,
            "articles": len(found),
            "tokens": len(table),
            "tokens_per_article": tokens,
            "annotator": found.annotator,
            "texts": texts_digest(found.encoded),
            "inverse_penalty": inverse_penalty,
            "seed": seed,
            "precision": precision,
            "threshold": 0.0,
            "thresholds": {f"{rate:g}": limit_at(gate_N, rate) for rate in THRESHOLD_RATES},
            **({} if gate_entropy is None else {"gate_entropy": gate_entropy.to_data()}),
            "figures": as_data(figures),
        }
        kept = {key: value for key, value in loaded.meta.items() if key in ("preset", "training")}
        loaded.meta = {**kept, FINGERPRINT: fingerprint, "tune": meta}
        save_model(
            out, loaded.model.cpu(), loaded.tokenizer, loaded.meta,
            card=model_card(str(model), meta, figures),
        )  # fmt: skip
        full = {**meta, "environment": environment(), "seconds": clock.seconds()}
        write_atomic(out / REPORT_FILE, _json(full))
    loaded.path = out
    return TuneResult(loaded, out, row_D, figures, meta, tuple([*notes, *found.notes]))


def _open(model: str | Path | Loaded) -> tuple[Loaded, list[str]]:
    """Open a model with ``<CALL>`` as its last row, and say what happens to an existing row."""
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    loaded.model.eval()
    notes = list(loaded.notes)
    if "tune" in loaded.meta:
        notes.append("This model has been tuned before; its row is replaced.")
    elif "training" in loaded.meta:
        notes.append("This model was trained with <CALL>; its row is replaced by a gate.")
    return loaded, notes


def _within(loaded: Loaded, tokens: int) -> int:
    """Return the tokens per article, at most the model's context."""
    return min(tokens, loaded.context)


def _device(wanted: str) -> torch.device:
    require_one_of("device", wanted, ("auto", "cpu"))
    return torch.device("cuda" if wanted == "auto" and torch.cuda.is_available() else "cpu")


@torch.no_grad()
def _install(loaded: Loaded, row_D: NDArray[np.float64]) -> None:
    """Write the row into the head; the other rows and the layers stay as they are."""
    weight_VD: Any = loaded.model.get_output_embeddings().weight  # type: ignore[union-attr]
    weight_VD[-1] = torch.as_tensor(row_D, dtype=weight_VD.dtype, device=weight_VD.device)
    set_gate(loaded.model, "sigmoid")


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2) + "\n"


class _Clock:
    """Announces the steps of a tuning and measures their times."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._begin = self._last = time.perf_counter()
        self._name = ""
        self._seconds: dict[str, float] = {}

    def step(self, name: str, detail: str) -> None:
        """Announce a step; the time of the previous one ends."""
        self._end()
        self._name = name
        elapsed = format_duration(self._last - self._begin)
        self._notify(f"{name} ({elapsed}): {detail}")

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each step so far."""
        self._end()
        return {name: round(value, 2) for name, value in self._seconds.items()}

    def _end(self) -> None:
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._last
        self._last = now
