"""Pretrain one model with several workers, in a run folder as ``lacy train`` writes it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lacy._children import end_with_parent
from lacy._garbage import collect_garbage_less
from lacy._parse import parse_json
from lacy.config import to_dict
from lacy.diloco.distributed import ServerLoop, file_of, round_name, save_worker, work_for
from lacy.diloco.links import meeting_store
from lacy.diloco.local import OnRound, run_in_process
from lacy.diloco.server import OuterServer
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.together import Together, held_out_losses, prepare_together
from lacy.disk import lock, replace_file, write_atomic
from lacy.errors import LacyError
from lacy.model import META, save_model
from lacy.run import Run, require_same_run
from lacy.train import TrainConfig

CHECKPOINTS, OUTER, NUMBERS = "checkpoints", "outer.safetensors", "server.json"
KEEP = 2
"""Number of checkpoints that are kept."""
MAY_DIFFER = (
    "out",
    "threads",
    "eval_every",
    "save_every",
    "save_minutes",
    "quiet",
    "exchange.timeout",
)
"""Settings that a resumed run may change."""


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """Result of a run of several workers."""

    out: Path
    progress: float
    """Steps of all workers together that are merged."""
    finished: bool
    metrics: dict[str, Any] = field(default_factory=dict)
    """The last row of ``metrics.jsonl``."""


def pretrain(
    config: TrainConfig,
    settings: DilocoSettings,
    *,
    processes: bool = False,
    address: str = "127.0.0.1:0",
    on_round: OnRound = lambda row: False,
) -> PretrainResult:
    """Train a model with several workers, or resume an interrupted run.

    Args:
        config: settings of training, as for ``lacy train``; ``batch_rows`` and ``steps`` count all
            workers together, so that the tokens are those of one synchronous run.
        settings: how workers exchange.
        processes: start a process for each worker; otherwise all run in this one, in turn.
        address: where the server listens, with ``processes``.
        on_round: gets the row of the metrics of each outer step; if it returns True, the run is
            saved and stops there.

    Returns:
        The result; ``out/model`` has the model if the run is finished.

    Raises:
        LacyError: E45, E358, invalid settings; E359, E360, workers failed; E17, the folder belongs
            to another run; E150, another process uses it; errors of data and model.
    """
    config.check()
    settings.check()
    with lock(config.out):
        stored, done = _stored(config, settings), _finished(config.out)
        require_same_run(config.out, stored, may_differ=MAY_DIFFER)
        if done is not None:
            run = Run(config.out, stored, may_differ=MAY_DIFFER)
            return PretrainResult(config.out, done, True, (run.metrics() or [{}])[-1])
        together = prepare_together(config, settings)
        run = Run(config.out, stored, may_differ=MAY_DIFFER)
        job = _Job(together, run, on_round)
        return job.run_processes(address) if processes else job.run_here()


def join(config: TrainConfig, settings: DilocoSettings, address: str, number: int) -> int:
    """Work for a server elsewhere until its run is finished; returns the outer steps applied.

    Args:
        config: the settings of the server's run, with a path of data on this machine.
        settings: the same.
        address: ``HOST:PORT`` of the server.
        number: which worker to be, from 0.

    Raises:
        LacyError: E360, the server is not there, or refuses this worker.
    """
    worker = prepare_together(config, settings).worker(number)
    store = meeting_store(address, server=False, seconds=settings.timeout)
    return work_for(store, worker, config.out / CHECKPOINTS)


def serve(
    config: TrainConfig,
    settings: DilocoSettings,
    store: Any,
    on_round: OnRound = lambda row: False,
) -> PretrainResult:
    """Serve workers that others start (``torchrun``, other machines), who meet at a store."""
    config.check()
    with lock(config.out):
        stored = _stored(config, settings)
        require_same_run(config.out, stored, may_differ=MAY_DIFFER)
        together = prepare_together(config, settings)
        run = Run(config.out, stored, may_differ=MAY_DIFFER)
        job = _Job(together, run, on_round)
        return job.serve(store)


@dataclass
class _Job:
    """A run in progress."""

    together: Together
    run: Run
    on_round: OnRound
    stopped: bool = False
    saved_at: float = field(default_factory=time.monotonic)
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.together.make_model()
        self.server = self.together.server(self.model)
        self.out = self.together.config.out
        self.restored = _restore(self.server, self.out)
        self.run.write_environment(
            reasons=self.together.notes, torch_threads=torch.get_num_threads(),
            parameters=sum(t.numel() for t in self.server.outer.weights.values()),
        )  # fmt: skip
        self._rewind()
        self._eval_at = self._save_at = self.server.progress

    # ----------------------------------------------------------------------- runners

    def run_here(self) -> PretrainResult:
        """Run all workers in this process."""
        workers = [self.together.worker(n) for n in range(self.together.settings.workers)]
        for worker in workers:
            first = self.restored is None
            worker.welcome(self.server.welcome(counted=first), self.server.outer.state_dict())
            if self.restored is not None and (self.restored / file_of(worker.number)).is_file():
                worker.load_state_dict(load_file(self.restored / file_of(worker.number)))

        def on_round(row: dict[str, Any]) -> bool:
            stop = self._on_round(row)
            if folder := self._folder(self.server.version, stop):
                for worker in workers:
                    save_worker(worker, folder)
                self._save(folder)
            return stop

        run_in_process(self.server, workers, on_round)
        return self._finish()

    def run_processes(self, address: str) -> PretrainResult:
        """Start a process for each worker, and serve them."""
        config, settings = self.together.config, self.together.settings
        store = meeting_store(address, server=True, seconds=settings.timeout)
        place = f"{address.rpartition(':')[0]}:{store.port}"
        context = multiprocessing.get_context("spawn")
        children = [
            context.Process(target=_work, args=(config, settings, place, number), daemon=True)
            for number in range(settings.workers)
        ]
        with _running(children):
            return self.serve(store)

    def serve(self, store: Any) -> PretrainResult:
        """Serve workers that meet at a store."""
        loop = ServerLoop(
            self.server, store, self._on_round,
            lambda version: self._folder(version, self.stopped), self._save,
        )  # fmt: skip
        loop.run("" if self.restored is None else str(self.restored.resolve()))
        return self._finish()

    # ----------------------------------------------------------------------- rounds

    def _on_round(self, figures: dict[str, Any]) -> bool:
        """Record an outer step, and validate if it is time."""
        config, server = self.together.config, self.server
        row = {
            "step": round(server.progress), "tokens": server.tokens, "round": server.version,
            **figures, "lr": (config.lr or 0.0) * self.together.schedule.at(
                min(self.together.schedule.total, round(server.progress)) - 1
            ),
        }  # fmt: skip
        due = config.eval_every and server.progress - self._eval_at >= config.eval_every
        if due or server.finished:
            self._eval_at = server.progress
            row |= self._validate()
        self.last = row
        self.run.log(**row)
        self.stopped = self.on_round(row)
        return self.stopped

    def _validate(self) -> dict[str, float]:
        self._load_weights()
        together = self.together
        size = together.config.batch_rows
        return held_out_losses(self.model, together.valid, together.valid_rows, size)

    @torch.no_grad()
    def _load_weights(self) -> None:
        for name, parameter in self.model.named_parameters():
            if name in self.server.outer.weights:
                parameter.copy_(self.server.outer.weights[name])

    def _rewind(self) -> None:
        kept = [row for row in self.run.metrics() if row.get("round", 0) <= self.server.version]
        write_atomic(self.run.metrics_file, "".join(json.dumps(row) + "\n" for row in kept))

    # ----------------------------------------------------------------------- saving

    def _folder(self, version: int, stop: bool) -> Path | None:
        """Return the folder of a checkpoint if one is due."""
        config, server = self.together.config, self.server
        minutes = (time.monotonic() - self.saved_at) / 60
        due = config.save_every and server.progress - self._save_at >= config.save_every
        due = due or (config.save_minutes and minutes >= config.save_minutes) or stop
        return self.out / CHECKPOINTS / round_name(version) if due and not server.finished else None

    def _save(self, folder: Path) -> None:
        """Write the server's state; ``server.json``, the last file, completes a checkpoint."""
        self.saved_at, self._save_at = time.monotonic(), self.server.progress
        with replace_file(folder / OUTER) as path:
            save_file(self.server.state_dict(), path)
        write_atomic(folder / NUMBERS, json.dumps(self.server.numbers(), indent=1) + "\n")
        for old in _checkpoints(self.out)[:-KEEP]:
            (old / NUMBERS).unlink()
            shutil.rmtree(old, ignore_errors=True)

    def _finish(self) -> PretrainResult:
        server, together = self.server, self.together
        if not server.finished:
            return PretrainResult(self.out, server.progress, False, self.last)
        self._load_weights()
        config, settings = together.config, together.settings
        facts = {
            "model": config.model,
            "parameters": f"{sum(p.numel() for p in self.model.parameters()):,}",
            "workers": settings.workers, "steps between exchanges": settings.sync_every,
            "codec": settings.codec, "tokens": f"{server.tokens:,}",
            "bytes sent by workers": f"{server.bytes_up:,}",
            "bytes received by workers": f"{server.bytes_down:,}",
            **{n.replace("_", " "): f"{v:.4f}" for n, v in self.last.items() if "valid" in n},
        }  # fmt: skip
        self.run.card(f"{self.out.name}: pretrained by {settings.workers} workers", facts)
        preset = config.model if config.new_model else None
        meta = {"preset": preset, "training": {
            "step": together.schedule.total, "of": together.schedule.total,
            "tokens": server.tokens, "settings": to_dict(config),
        }}  # fmt: skip
        card = self.run.card_file.read_text(encoding="utf-8")
        save_model(self.out / "model", self.model, together.data.tokenizer, meta, card=card)
        return PretrainResult(self.out, server.progress, True, self.last)


@contextlib.contextmanager
def _running(children: list[Any]) -> Iterator[None]:
    """Run processes during a block; those that are left afterwards are ended."""
    for child in children:
        child.start()
    try:
        yield
        for child in children:
            child.join(10)
    finally:
        for child in children:
            if child.is_alive():
                child.terminate()
            child.join()


def _work(config: TrainConfig, settings: DilocoSettings, address: str, number: int) -> None:
    """Work in a process of its own; the server reports what goes wrong."""
    end_with_parent()
    collect_garbage_less()
    with contextlib.suppress(LacyError, KeyboardInterrupt):
        join(config, settings, address, number)


def _stored(config: TrainConfig, settings: DilocoSettings) -> dict[str, Any]:
    return {**to_dict(config), "exchange": to_dict(settings)}


def _finished(out: Path) -> float | None:
    """Return the steps of a finished run in a folder, or None."""
    try:
        training = parse_json((out / "model" / META).read_text(encoding="utf-8"))["training"]
        return float(training["of"]) if training["step"] == training["of"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    found = (out / CHECKPOINTS).glob("round-*")
    return sorted(path for path in found if (path / NUMBERS).is_file())


def _restore(server: OuterServer, out: Path) -> Path | None:
    """Restore the newest checkpoint; returns its folder, or None if there is none.

    Raises:
        LacyError: E49, it is damaged.
    """
    found = _checkpoints(out)
    if not found:
        return None
    try:
        numbers = parse_json((found[-1] / NUMBERS).read_text(encoding="utf-8"))
        server.load(load_file(found[-1] / OUTER), numbers)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, LacyError) as error:
        why = f"it is damaged ({str(error).splitlines()[0][:120]})"
        do = f"delete {found[-1]}; the run then resumes from an earlier checkpoint"
        raise LacyError("E49", path=found[-1], why=why, do=do) from error
    return found[-1]
