"""Train more of a model than the ``<CALL>`` row: adapters, the last layers, or everything.

The run starts from the fitted row, so its first calls are already good. A fifth of the articles is
used neither for fitting nor for training; all figures are measured on it, before and after
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lacy.corpus import Encoded, PackedData
from lacy.errors import LacyError
from lacy.model import FINGERPRINT, load_model, model_fingerprint, save_model
from lacy.train import TrainConfig, train
from lacy.tune.gate import fit_row
from lacy.tune.measure import Measured, measure
from lacy.tune.row import install_row
from lacy.tune.shared import Labelled, Tuning
from lacy.types import MarkFlag

HELD_OUT = 5
"""One in this many articles is held out."""

MIN_HELD_OUT = 5
"""Minimum number of articles that are held out."""

BATCH_ROWS = 8
"""Rows per training step: few, because there are few rows to train on."""

ALL_STARTS = 0.5
"""Call rate for targets at value starts: above their share, so that all are delegated."""


def train_from_row(tuning: Tuning) -> tuple[Measured, np.ndarray]:
    """Fit the row, train from it, and measure both on held-out articles.

    Returns:
        The figures, and the trained row. ``tuning.loaded`` is the trained model.

    Raises:
        LacyError: E162, too few articles to hold some out; and the errors of ``train``.
        KeyboardInterrupt: the training was stopped; the same call resumes it.
    """
    settings, encoded = tuning.settings, tuning.articles.encoded
    held = encoded[::HELD_OUT]
    fitted = [article for number, article in enumerate(encoded) if number % HELD_OUT]
    if len(held) < MIN_HELD_OUT:
        raise LacyError(
            "E162", path="the data", articles=len(encoded), least=HELD_OUT * MIN_HELD_OUT - 4
        )
    before = tuning.label(fitted)
    row_D = fit_row(before.table.hidden_ND, before.due_N, settings.inverse_penalty)
    alone = tuning.label(held)
    start = _write_start(tuning, row_D)
    packed = tuning.folder / "packed"
    articles = fitted if settings.target == "where" else only_due(fitted, before)
    context = min(settings.tokens + 1, tuning.loaded.context)
    PackedData.write(articles, tuning.loaded.tokenizer, context, packed)
    tuning.clock.step("Train", f"depth {settings.depth}, {len(fitted)} articles")
    result = train(
        TrainConfig(
            data=packed,
            model=str(start),
            out=tuning.out,
            depth=settings.depth,
            delegate="token" if settings.target == "value" else "start",
            call_rate=settings.call_rate if settings.target == "value" else ALL_STARTS,
            epochs=settings.epochs,
            batch_rows=BATCH_ROWS,
            device=settings.device,
            threads=settings.threads or 0,
            seed=settings.seed,
        )
    )
    if not result.finished:
        raise KeyboardInterrupt
    tuning.loaded = load_model(tuning.out)
    tuning.loaded.model.eval()
    after = tuning.label(held)
    trained_D = tuning.loaded.model.get_output_embeddings().weight[-1]  # type: ignore[union-attr, index]
    trained_D = trained_D.detach().double().cpu().numpy()
    tuning.clock.step("Measure", f"{len(held)} held-out articles")
    measured = measure(
        after.table, after.due_N, after.missed_N, tuning.embedding(), settings.inverse_penalty,
        settings.seed, row_D=trained_D,
        extra={"row alone": alone.table.hidden_ND @ row_D},
    )  # fmt: skip
    return measured, trained_D


def _write_start(tuning: Tuning, row_D: np.ndarray) -> Path:
    """Write the model with the fitted row, from which the training starts and resumes."""
    start = tuning.folder / "row"
    install_row(tuning.loaded, row_D)
    meta = {FINGERPRINT: model_fingerprint(tuning.loaded.model)}
    save_model(start, tuning.loaded.model.cpu(), tuning.loaded.tokenizer, meta)
    return start


def only_due(articles: Sequence[Encoded], labelled: Labelled) -> list[Encoded]:
    """Return the articles with the mark ``START`` only where a call is due."""
    due = np.split(labelled.due_N, np.flatnonzero(np.diff(labelled.table.article_N)) + 1)
    changed = []
    for article, due_T in zip(articles, due, strict=True):
        marks = np.asarray(article.marks, np.uint8)
        marks[1:][~due_T] &= np.uint8(0xFF ^ MarkFlag.START)
        changed.append(replace(article, marks=marks.tolist()))
    return changed
