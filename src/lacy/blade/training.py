"""Train the small model: on texts of its domain, and to write the knowledge for questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lacy.blade.settings import WriterSettings
from lacy.blade.triples import Triple
from lacy.blade.writer import writer_prompt
from lacy.disk import can_replace
from lacy.distill import DistillSettings, calls_objective, distill
from lacy.errors import LacyError
from lacy.model import Loaded, gate_of, load_model, origin_of, save_model
from lacy.objective import Objective
from lacy.safety import ReplyRows, ReplySample, reference, reply_logps
from lacy.train import WSD, FitState, MicroBatch, TrainConfig, Trained, choose_lr, fit
from lacy.types import Document

Notify = Callable[[str], object]

TEXT = Objective(method="none", call_negative="none")
"""Nothing is delegated, and ``<CALL>`` has no loss."""

ROW = "trainable_tokens"
"""Part of the name of the ``<CALL>`` row in a model with adapters."""


@dataclass(frozen=True, slots=True)
class TunedWriter:
    """A small model that learned to write knowledge.

    Attributes:
        folder: where it is.
        triples: number of triples that it was trained on.
        steps: number of steps.
        first_loss: mean loss of the first tenth of the steps, in nats per token.
        last_loss: mean loss of the last tenth.
    """

    folder: Path
    triples: int
    steps: int
    first_loss: float
    last_loss: float


def pretrain_domain(
    model: str | Path | Loaded,
    texts: str | Path | Iterable[Document],
    out: str | Path,
    *,
    epochs: float = 1.0,
    depth: str = "lora",
    lr: float | None = None,
    context: int = 256,
    batch_rows: int = 8,
    seed: int = 0,
    device: Literal["auto", "cpu"] = "auto",
    threads: int | None = None,
    quiet: bool = True,
    notify: Notify = lambda sentence: None,
) -> Loaded:
    """Continue the pretraining of a model on texts of a domain (BLADE's stage 1).

    A model that calls goes on learning where to call, which needs marks (``lacy data mark``), and
    learns all of the text, also where it calls (text weight 1): it is to know its domain. The same
    call resumes a stopped run.

    Args:
        model: the model to start from, or its name; an open one must not be used afterwards.
        texts: packed data, files as in ``lacy.corpus.read``, or documents.
        out: folder of the run; the model is in ``out/model``.
        epochs: passes over the texts.
        depth: ``lora``, ``last=N``, ``norms`` or ``full``.
        lr: learning rate; None for one that suits depth and size.
        context: tokens per row of texts that are not packed.
        batch_rows: rows per step.
        seed: seed of adapters and order.
        device: ``auto`` or ``cpu``.
        threads: number of CPU threads.
        quiet: show no progress.
        notify: called with a sentence for each automatic choice.

    Raises:
        LacyError: E21, there are no texts; E12, E17 and E45, as in ``lacy.train.train``; E398, a
            model that calls gets texts without marks.
    """
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    objective = None
    if loaded.calls:
        objective, why = calls_objective(loaded)
        # A source will not be asked here: the small model itself is to know the domain.
        objective = replace(objective, text_weight=1.0)
        notify(f"{why} The text is learned everywhere.")
    try:
        done = distill(
            loaded, None, texts, out=out, settings=DistillSettings(weight=0.0, imitate="all"),
            objective=objective, epochs=epochs, lr=lr, depth=depth, context=context,
            batch_rows=batch_rows, seed=seed, device=device, threads=threads, quiet=quiet,
            notify=lambda sentence: None,
        )  # fmt: skip
    except LacyError as error:
        if error.code != "E46":
            raise
        name = model if isinstance(model, str | Path) else loaded.name or "the model"
        raise LacyError("E398", model=name, why=error.what) from error
    return done.loaded


def tune_writer(
    model: str | Path | Loaded,
    triples: Sequence[Triple],
    out: str | Path,
    settings: WriterSettings | None = None,
    *,
    on_step: Callable[[int, int, float], object] = lambda step, steps, loss: None,
    notify: Notify = lambda sentence: None,
) -> TunedWriter:
    """Train a model to write the knowledge of a question (BLADE's stage 2), and save it.

    Only the knowledge has a loss, not the question. The ``<CALL>`` row is not trained; in a model
    that calls, a term keeps the margins of ``<CALL>`` where they were.

    Args:
        model: the small model, or its name; an open one must not be used afterwards.
        triples: questions with knowledge.
        out: the folder of the trained model.
        settings: of the training.
        on_step: called with the number of steps done, of all steps, and the loss.
        notify: called with a sentence for each automatic choice.

    Raises:
        LacyError: E12, a setting is invalid; E390, a triple has no knowledge; E391, there are no
            triples; E16, ``out`` has other content; and the errors of ``load_model``.
    """
    settings, out = settings or WriterSettings(), Path(out)
    settings.check()
    if not triples:
        raise LacyError("E391", path="the training set", why="it is empty")
    for one in triples:
        if not one.knowledge.strip():
            raise LacyError("E390", where=one.id or one.question[:60], why="it has no knowledge")
    if out.exists() and not can_replace(out):
        raise LacyError("E16", path=out)
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    network: Any = loaded.model
    parameters = sum(p.numel() for p in network.parameters())
    lr, why = choose_lr(settings.depth, parameters, pretrained=True)
    if settings.lr is None:
        notify(why)
    peak = settings.lr or lr
    rows = ReplyRows(
        [ReplySample(writer_prompt(one.question), one.knowledge.strip()) for one in triples],
        loaded.tokenizer, prompt_tokens=settings.prompt_tokens,
        reply_tokens=settings.knowledge_tokens,
    )  # fmt: skip
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    config = TrainConfig(depth=settings.depth, lora_rank=settings.lora_rank, seed=settings.seed)
    trained = Trained.start(network, config, loaded.name)
    with_gradient = {name for name, one in network.named_parameters() if one.requires_grad}
    state = FitState.start(
        network, trainable=lambda name, _: name in with_gradient and ROW not in name, lr=peak
    )
    hold = HoldMargins(network, rows, settings.hold_call) if _holds(loaded, settings) else None
    steps = max(1, math.ceil(settings.epochs * len(rows) / settings.batch))
    warmup = round(settings.warmup * steps)
    schedule = WSD(steps, warmup, steps - warmup, "linear")
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # for dropout
        batches = islice(rows.batches(settings.batch, settings.seed, network.device), steps)
        for done in fit(state, batches, TEXT, lr=lambda step: peak * schedule.at(step),
                        seed=settings.seed, extra=hold):  # fmt: skip
            losses.append(done.means["token_loss"])
            on_step(done.step, steps, losses[-1])
    trained.merge()
    network.eval()
    kept = origin_of(loaded.meta)
    made = {"blade": {"triples": len(triples), "lr": peak, **asdict(settings)}}
    save_model(out, network.cpu(), loaded.tokenizer, {**kept, **made})
    tenth = max(1, steps // 10)
    return TunedWriter(
        out, len(triples), steps, sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    )


class HoldMargins:
    """A loss that keeps the margins of ``<CALL>`` at a reply's tokens where they were.

    Training moves the hidden states that the ``<CALL>`` row reads. The term is the mean squared
    change of the margin, as in ``lacy.safety.DpoLoss``.

    Args:
        model: the model, as it begins; with adapters or without.
        rows: the training rows.
        weight: weight of the term.
    """

    text_scale = 1.0

    def __init__(self, model: Any, rows: ReplyRows, weight: float) -> None:
        self._model, self._weight = model, weight
        _, self._margins = reference(model, rows, margins=True, adapters=True)

    def __call__(
        self,
        micro: MicroBatch,
        hidden_BTD: Tensor,
        head_VD: Tensor,
        call_BT: Tensor,
        ignore_BT: Tensor,
    ) -> Tensor:
        """Return the term for a micro-batch."""
        assert micro.rows_B is not None
        _, margin_N = reply_logps(micro, hidden_BTD, head_VD, gate_of(self._model))
        before_N = torch.cat([self._margins[row] for row in micro.rows_B]).to(margin_N)
        return self._weight * (margin_N - before_N).square().mean()


def _holds(loaded: Loaded, settings: WriterSettings) -> bool:
    return loaded.calls and settings.hold_call > 0
