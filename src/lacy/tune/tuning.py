"""Tune a model: read articles, compute states, fit, measure, and write the model's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lacy._require import require_at_least, require_one_of, require_share
from lacy.annotate import AnnotateConfig
from lacy.corpus import ReadReport
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    ORIGIN,
    Loaded,
    bf16_is_fast,
    gate_of,
    load_model,
    model_fingerprint,
    save_model,
)
from lacy.results import as_data
from lacy.run import environment, write_atomic
from lacy.train import DEPTHS, parse_depth
from lacy.tune.articles import read_articles, texts_digest
from lacy.tune.card import model_card
from lacy.tune.figures import TuneFigures, limit_at
from lacy.tune.measure import Measured
from lacy.tune.row import tune_row
from lacy.tune.settings import Target, TuneSettings
from lacy.tune.shared import Clock, Notify, Tuning
from lacy.tune.training import train_from_row
from lacy.types import Document

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
    depth: str = "row",
    target: Target = "where",
    articles: int = 200,
    tokens: int = 256,
    inverse_penalty: float = 0.01,
    call_rate: float = 0.22,
    epochs: float = 1.0,
    seed: int = 0,
    replay: str | Path | Iterable[Document] | None = None,
    annotate: AnnotateConfig | None = None,
    states: str | Path | None = None,
    device: Literal["auto", "cpu"] = "auto",
    threads: int | None = None,
    report: ReadReport | None = None,
    notify: Notify = lambda sentence: None,
    progress: bool = True,
    **reading: Any,
) -> TuneResult:
    """Teach a pretrained model to call where a value begins, and write it as a new folder.

    The ``<CALL>`` row is fitted as a sigmoid gate on hidden states of the frozen model, so that its
    text does not change. All figures come from articles that the scoring row was not fitted on: the
    articles are split into ten groups, and each group is scored by a row fitted on other groups.
    The final row is fitted on all articles. Other depths are measured on held-out articles.

    Args:
        model: name of a causal language model as in ``load_model``, or an open model, which is
            changed.
        data: articles as in ``lacy.corpus.read``, packed data, or documents. Documents without
            marks are marked by spaCy and the rules.
        out: folder of the tuned model.
        depth: how much is trained: ``row``, ``lora``, ``last=N`` or ``full``.
        target: where the model should call, see ``TuneSettings``.
        articles: maximum number of articles to use.
        tokens: maximum number of tokens per article.
        inverse_penalty: C of the logistic regression.
        call_rate: share of tokens at which a call is due, for the target ``value``.
        epochs: passes over the articles, for depths other than ``row``.
        seed: seed of the choice of articles and of the groups.
        replay: articles of an earlier tuning, in the same formats, that are added to ``data``, so
            that what was learned from them is kept; at most ``articles`` of them.
        annotate: settings of the annotator.
        states: folder for hidden states and marks; by default ``out`` with ``-states``.
        device: ``auto`` or ``cpu``.
        threads: number of CPU threads.
        report: filled with what was skipped while reading.
        notify: called with a sentence for each step and each automatic choice.
        progress: show progress bars on a terminal.
        reading: further arguments of ``lacy.corpus.read``.

    Raises:
        LacyError: E12, a setting is invalid; E150, another tuning writes to ``out``; E162-E165, the
            articles cannot be used; and the errors of ``load_model``, ``read`` and
            ``save_model``.
    """
    settings = TuneSettings(
        depth=depth, target=target, articles=articles, tokens=tokens, seed=seed, epochs=epochs,
        call_rate=call_rate, inverse_penalty=inverse_penalty, device=device, threads=threads,
    )  # fmt: skip
    check_settings(settings)
    if threads:
        torch.set_num_threads(threads)
    out = Path(out)
    folder = Path(states) if states is not None else out.with_name(f"{out.name}-states")
    clock = Clock(notify)
    name = model.name or str(model.path) if isinstance(model, Loaded) else str(model)
    with lock(folder):
        clock.step("Model", name)
        loaded, notes = _open(model)
        for sentence in notes:
            notify(sentence)
        clock.step("Articles", str(data) if isinstance(data, str | Path) else "documents")
        settings.tokens = min(tokens, loaded.context)
        found = read_articles(
            data, loaded.tokenizer, articles=articles, tokens=settings.tokens, seed=seed,
            marks=folder, replay=replay, annotate=annotate, report=report, notify=notify,
            progress=progress, **reading,
        )  # fmt: skip
        on = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
        fast, why = bf16_is_fast(on)
        tuning = Tuning(
            loaded, name, found, settings, out, folder, on, fast, why, clock, notify, progress
        )
        measured, row_D = tune_row(tuning) if depth == "row" else train_from_row(tuning)
        path, meta = _save(tuning, measured)
    return TuneResult(
        tuning.loaded, path, row_D, measured.figures, meta, tuple([*notes, *found.notes])
    )


def check_settings(settings: TuneSettings) -> None:
    """Raise E12 for a setting that cannot be used."""
    require_one_of("target", settings.target, get_args(Target))
    require_one_of("device", settings.device, ("auto", "cpu"))
    require_share("call_rate", settings.call_rate)
    require_at_least("articles", settings.articles, 1)
    require_at_least("tokens", settings.tokens, 8)
    for key in ("epochs", "inverse_penalty"):
        if not getattr(settings, key) > 0:
            value, do = getattr(settings, key), "give a number above 0"
            raise LacyError("E12", key=key, value=value, why="it is not above 0", do=do)
    try:
        parse_depth(settings.depth)
    except ValueError as error:
        do = f"choose one of: {', '.join(DEPTHS)} (last=2)"
        raise LacyError("E12", key="depth", value=settings.depth, why=str(error), do=do) from None


def _save(tuning: Tuning, measured: Measured) -> tuple[Path, dict[str, Any]]:
    """Write the tuned model with its card and figures; return its folder and what is stored."""
    settings, loaded, gate_entropy = tuning.settings, tuning.loaded, measured.gate_entropy
    # A training has written its run folder; the model is in it.
    path = tuning.out if settings.depth == "row" else tuning.out / "model"
    tuning.clock.step("Save", str(path))
    meta = {
        "depth": settings.depth,
        "target": settings.target,
        "articles": len(tuning.articles),
        "tokens_per_article": settings.tokens,
        "annotator": tuning.articles.annotator,
        "texts": texts_digest(tuning.articles.encoded),
        "inverse_penalty": settings.inverse_penalty,
        "seed": settings.seed,
        "precision": tuning.precision,
        "threshold": 0.0,
        "thresholds": {f"{rate:g}": limit_at(measured.gate_N, rate) for rate in THRESHOLD_RATES},
        **({} if gate_entropy is None else {"gate_entropy": gate_entropy.to_data()}),
        "figures": as_data(measured.figures),
    }
    kept = {
        key: value
        for key, value in loaded.meta.items()
        if key in (*ORIGIN, "trimmed", "compression")
    }
    loaded.meta = {**kept, FINGERPRINT: model_fingerprint(loaded.model), "tune": meta}
    card = model_card(Path(tuning.name).name, meta, measured.figures)
    save_model(path, loaded.model.cpu(), loaded.tokenizer, loaded.meta, card=card)  # type: ignore[arg-type]
    loaded.path = path
    full = {**meta, "environment": environment(), "seconds": tuning.clock.seconds()}
    write_atomic(path / REPORT_FILE, json.dumps(full, indent=2) + "\n")
    return path, meta


def _open(model: str | Path | Loaded) -> tuple[Loaded, list[str]]:
    """Open a model with ``<CALL>`` as its last row, and say what happens to an existing row."""
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    loaded.model.eval()
    notes = list(loaded.notes)
    if "tune" in loaded.meta:
        notes.append("This model has been tuned before; its row is replaced.")
    elif gate_of(loaded.model) == "sigmoid":
        notes.append("This model has a gate already; its row is replaced.")
    elif "training" in loaded.meta and loaded.calls:
        notes.append("This model was trained with <CALL>; its row is replaced by a gate.")
    return loaded, notes
