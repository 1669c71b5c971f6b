"""Run server and workers as processes: the same algorithm as in one process, over gloo.

The server waits for reports, makes the outer step when enough have arrived (all workers that are
there, or a quorum and the grace window), and answers. A worker that is killed or silent is left out
from then on; the others go on. A worker that joins, or joins again, gets the outer state and takes
part from the next exchange.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, load_file, save, save_file
from torch.distributed import Store

from lacy.deltas import shapes_of
from lacy.diloco.links import GlooLink
from lacy.diloco.local import OnRound
from lacy.diloco.server import OuterServer
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.worker import InnerWorker
from lacy.disk import replace_file
from lacy.errors import LacyError

POLL = 0.02
"""Seconds between two looks for workers that join."""

SaveFolder = Callable[[int], Path | None]
"""Returns the folder of a checkpoint if one is due after a number of outer steps, else None."""


@dataclass
class _Seat:
    """A worker that is there."""

    link: GlooLink
    missed: list[bytes] = field(default_factory=list)
    """Messages of outer steps since its last report."""
    reported: bool = False


def same_run(server_weights: Any, settings: DilocoSettings) -> str:
    """Return a fingerprint of what all participants must have in common."""
    shapes = {name: list(shape) for name, shape in sorted(shapes_of(server_weights).items())}
    text = json.dumps([shapes, asdict(settings)], default=list, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ServerLoop:
    """Serves workers until the run is finished.

    Args:
        server: the server; a restored one continues.
        store: where workers meet it.
        on_round: gets the figures of each outer step, with the ``time`` since the start.
        save: says when workers write checkpoints, and where.
        saved: called when all workers that are there have written a checkpoint.
    """

    def __init__(
        self, server: OuterServer, store: Store, on_round: OnRound,
        save: SaveFolder = lambda version: None, saved: Callable[[Path], None] = lambda path: None,
    ) -> None:  # fmt: skip
        self.server, self.store, self.settings = server, store, server.settings
        self._on_round, self._save, self._saved = on_round, save, saved
        self._seats: dict[int, _Seat] = {}
        self._events: queue.Queue[tuple[int, GlooLink, bytes | None]] = queue.Queue()
        self._joined, self._began = 0, time.monotonic()

    def run(self, restore: str = "") -> None:
        """Wait for all workers, then train until the end.

        Args:
            restore: folder of the checkpoint whose worker files the first workers load.

        Raises:
            LacyError: E360, no worker has come or is left; E359, no delta can be used.
        """
        deadline = time.monotonic() + self.settings.timeout
        while len(self._seats) < self.settings.workers:
            self._admit(restore)
            self._require_time(deadline)
            time.sleep(POLL)
        while not self.server.finished:
            self._collect()
            message, figures = self.server.merge()
            for seat in self._seats.values():
                seat.missed.append(message)
            answered = [seat for seat in self._seats.values() if seat.reported]
            figures["bytes_down"] += sum(len(m) for seat in answered for m in seat.missed)
            figures["time"] = time.monotonic() - self._began
            stop = self._on_round(figures)
            folder = self._save(self.server.version)
            self._answer(folder)
            if stop:
                return

    def _collect(self) -> None:
        """Return when enough reports have arrived for an outer step."""
        server, quorum = self.server, self.settings.quorum
        grace_ends, left_ends = float("inf"), time.monotonic() + self.settings.timeout
        while True:
            self._admit()
            waiting = [seat for seat in self._seats.values() if not seat.reported]
            if server.pending and not waiting:
                return
            if quorum and len(server.pending) >= min(quorum, len(self._seats)):
                grace_ends = min(grace_ends, time.monotonic() + self.settings.grace)
                if time.monotonic() >= grace_ends:
                    return
            if not self._seats:
                self._require_time(left_ends)
            elif not waiting and not server.pending:  # all were refused
                return
            try:
                number, link, message = self._events.get(timeout=POLL)
            except queue.Empty:
                continue
            seat = self._seats.get(number)
            if seat is None or seat.link is not link:
                continue
            if message is None:
                self._lose(number)
                continue
            seat.reported = True
            server.receive(number, message)

    def _answer(self, folder: Path | None) -> None:
        """Send the outer steps to workers that have reported, and wait for their checkpoints."""
        asked = []
        for number, seat in list(self._seats.items()):
            if not seat.reported:
                continue
            try:
                seat.link.send(seat.missed, self.server.version if folder is not None else 0)
            except RuntimeError:
                self._lose(number)
                continue
            for message in seat.missed:
                self.server.sent(message)
            seat.missed, seat.reported = [], False
            asked.append(number)
        if folder is None:
            return
        while any(number in self._seats for number in asked):
            sender, link, answer = self._events.get()
            if sender not in self._seats or self._seats[sender].link is not link:
                continue
            if answer is None:
                self._lose(sender)
            elif sender in asked:
                asked.remove(sender)
            else:  # a late worker's report
                self._seats[sender].reported = True
                self.server.receive(sender, answer)
        self._saved(folder)

    # ----------------------------------------------------------------------- membership

    def _admit(self, restore: str = "") -> None:
        """Welcome workers that have announced themselves."""
        while self.store.check([f"join/{self._joined}"]):
            name, self._joined = str(self._joined), self._joined + 1
            asked = json.loads(self.store.get(f"join/{name}"))
            number, why = asked["number"], ""
            if asked["run"] != same_run(self.server.outer.weights, self.settings):
                why = "other settings or another model"
            elif number in self._seats or number not in range(self.settings.workers):
                why = f"the place of worker {number} is taken, or there is none"
            self.store.set(f"answer/{name}", json.dumps({"why": why, "restore": restore}))
            if why:
                continue
            try:
                link = GlooLink(self.store, f"pair/{name}", 0, self.settings.timeout)
                state = save(self.server.outer.state_dict())
                link.send([self.server.welcome(), state])
            except RuntimeError:
                continue
            self._seats[number] = _Seat(link)
            threading.Thread(target=self._listen, args=(number, link), daemon=True).start()

    def _listen(self, number: int, link: GlooLink) -> None:
        """Pass on the messages of a worker, and None when it is gone."""
        try:
            while True:
                messages, _ = link.receive()
                self._events.put((number, link, messages[0] if messages else b""))
        except RuntimeError:
            self._events.put((number, link, None))

    def _lose(self, number: int) -> None:
        """Go on without a worker. What it has sent still counts."""
        del self._seats[number]
        self.server.reasons.append(f"worker {number} is gone")

    def _require_time(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            why = f"{len(self._seats)} of {self.settings.workers} workers are there"
            raise LacyError("E360", address="the server", why=why)


def work_for(store: Store, worker: InnerWorker, checkpoints: Path | None = None) -> int:
    """Work for the server until it has finished; returns the number of outer steps applied.

    Args:
        store: where the server is met.
        worker: the worker; its number must be free.
        checkpoints: folder in which this worker writes ``round-N/worker-I.safetensors``.

    Raises:
        LacyError: E360, the server refuses this worker or is gone.
    """
    settings, name = worker.settings, str(store.add("joining", 1) - 1)
    run = same_run(worker.base.weights, settings)
    store.set(f"join/{name}", json.dumps({"number": worker.number, "run": run}))
    applied = 0
    try:
        answer = json.loads(store.get(f"answer/{name}"))
        if answer["why"]:
            raise LacyError("E360", address="the server", why=answer["why"])
        link = GlooLink(store, f"pair/{name}", 1, settings.timeout)
        (message, state), _ = link.receive()
        worker.welcome(message, load(state))
        if answer["restore"]:
            mine = Path(answer["restore"]) / file_of(worker.number)
            if mine.is_file():
                worker.load_state_dict(load_file(mine))
        while not worker.order.get("finished"):
            link.send([worker.report()])
            worker.train(worker.order["after"])
            messages, due = link.receive()
            for message in messages:
                worker.apply(message)
                applied += 1
            if due and checkpoints is not None:
                save_worker(worker, checkpoints / round_name(due))
            if due:
                link.send([b"saved"])
    except RuntimeError as error:
        why = str(error).splitlines()[0][:120]
        raise LacyError("E360", address="the server", why=why) from error
    return applied


def save_worker(worker: InnerWorker, folder: Path) -> None:
    """Write the state of a worker to its file in the folder of a checkpoint."""
    with replace_file(folder / file_of(worker.number)) as path:
        save_file(worker.state_dict(), path)


def file_of(number: int) -> str:
    """Return the name of a worker's file in a checkpoint."""
    return f"worker-{number}.safetensors"


def round_name(version: int) -> str:
    """Return the name of a checkpoint's folder; names sort by round."""
    return f"round-{version:08d}"
