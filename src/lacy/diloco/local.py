"""Run all workers in one process, one after another, on a virtual clock.

Workers of unequal speed, absences, quorum and grace window are events of the clock (its unit is the
time of one step at speed 1), so a run is deterministic and tests need not wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from lacy.diloco.server import OuterServer
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.worker import InnerWorker

OnRound = Callable[[dict[str, Any]], bool]
"""Called after each outer step with its figures; returns True to stop."""


def run_in_process(server: OuterServer, workers: Sequence[InnerWorker], on_round: OnRound) -> None:
    """Train until the server has finished, or until ``on_round`` returns True.

    Args:
        server: the server; a restored one continues.
        workers: its workers, welcomed by it.
        on_round: gets the figures of each outer step, with the virtual ``time``.

    Raises:
        LacyError: E359, no worker has sent anything that can be used.
    """
    if server.settings.quorum:
        _by_quorum(server, workers, on_round)
    else:
        _in_rounds(server, workers, on_round)


def _in_rounds(server: OuterServer, workers: Sequence[InnerWorker], on_round: OnRound) -> None:
    """Wait for all workers that are there."""
    settings, clock = server.settings, 0.0
    absent = settings.absences()
    gone: set[int] = set()
    while not server.finished:
        number = server.version + 1
        here = [w for w in workers if not any(number in r for r in absent.get(w.number, ()))]
        for worker in here:
            if worker.number in gone:
                worker.reset()
                worker.welcome(server.welcome(), server.outer.state_dict())
        gone = {worker.number for worker in workers} - {worker.number for worker in here}
        times = []
        for worker in here:
            steps = _paced(settings, worker)
            times.append(steps / _speed(settings, worker.number))
            server.receive(worker.number, worker.report())
        clock += max(times, default=0.0)
        for worker in here:
            worker.train(worker.order["after"])
        message, figures = server.merge()
        for worker in here:
            server.sent(message)
            worker.apply(message)
        if on_round({**figures, "bytes_down": server.bytes_down, "time": clock}):
            return


def _paced(settings: DilocoSettings, worker: InnerWorker) -> int:
    """Set and return the steps of a worker: fewer for a slow one if all take the same time."""
    steps = int(worker.order["steps"])
    if settings.pace == "time" and settings.speeds and steps:
        share = settings.speeds[worker.number] / max(settings.speeds)
        steps = max(1, round(steps * share))
        worker.order = {**worker.order, "steps": steps}
    return steps


def _by_quorum(server: OuterServer, workers: Sequence[InnerWorker], on_round: OnRound) -> None:
    """Merge when enough workers have sent a delta and the grace window is over."""
    settings = server.settings
    missed: dict[int, list[bytes]] = {worker.number: [] for worker in workers}
    reports: list[tuple[float, int, bytes]] = []
    by_number = {worker.number: worker for worker in workers}

    def start(worker: InnerWorker, now: float) -> None:
        end = now + worker.order["steps"] / _speed(settings, worker.number)
        heapq.heappush(reports, (end, worker.number, worker.report()))

    for worker in workers:
        start(worker, 0.0)
    while not server.finished:
        clock, deadline = 0.0, float("inf")
        while reports and reports[0][0] <= deadline:
            clock, number, report = heapq.heappop(reports)
            if not server.receive(number, report):  # it starts again from the newest weights
                _catch_up(server, by_number[number], missed)
                start(by_number[number], clock)
            if len(server.pending) >= settings.quorum:
                deadline = min(deadline, clock + settings.grace)
        message, figures = server.merge()
        waiting = {number for _, number, _ in reports}
        for worker in workers:
            missed[worker.number].append(message)
            if worker.number not in waiting:
                _catch_up(server, worker, missed)
        if on_round({**figures, "bytes_down": server.bytes_down, "time": clock}):
            return
        for worker in workers:
            if worker.number not in waiting and not server.finished:
                start(worker, clock)


def _catch_up(server: OuterServer, worker: InnerWorker, missed: dict[int, list[bytes]]) -> None:
    """Let a worker apply all outer steps since its last exchange."""
    for message in missed[worker.number]:
        server.sent(message)
        worker.apply(message)
    missed[worker.number] = []


def _speed(settings: DilocoSettings, number: int) -> float:
    return settings.speeds[number] if settings.speeds else 1.0
