"""The slow simulation: every event of every device, one after another.

It states the rules of ``simulating.py`` in the plainest way and is the reference for it: a queue of
events (begin of work, opening and closing of a window, interruption, departure, arrival of an
update), a clock that jumps from one to the next, and counters. It needs some 30 microseconds per
event, so it is for hundreds of devices.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from lacy.edge.assumptions import EdgeAssumptions
from lacy.edge.draws import Ints
from lacy.edge.fleet import Profile
from lacy.edge.outcome import EdgeRun, RoundOutcome
from lacy.edge.simulating import Scenario, run_rounds
from lacy.edge.timing import Tasks, peer_exchange, plan_tasks
from lacy.edge.windows import DAY


@dataclass
class _Device:
    """One device in one round."""

    work: float
    patience: float
    start: float
    length: float
    leaves: float
    worked: float = 0.0
    since: float | None = None
    """Time at which it began to work without a pause; None while it does not work."""
    fate: str = ""
    """"merged", "interrupted" or "left", once known."""

    def opens(self, time: float) -> float:
        """Return the next time, from now on, at which it may work."""
        into = (time - self.start) % DAY
        return time if self.length >= DAY or into < self.length else time + (DAY - into)

    def closes(self, time: float) -> float:
        """Return when the window that is open now closes."""
        return math.inf if self.length >= DAY else time + self.length - (time - self.start) % DAY

    def stop(self, time: float) -> None:
        """Count the work since it began."""
        if self.since is not None:
            self.worked += time - self.since
        self.since = None


@dataclass
class _Round:
    """The events and counters of one round."""

    begin: float
    grace: float
    detect: float
    slot_up: float
    quorum: int
    devices: list[_Device]
    events: list[tuple[float, int, str, int]] = field(default_factory=list)
    number: itertools.count[int] = field(default_factory=itertools.count)
    free: float = -math.inf
    """Time from which the server can receive the next update."""
    settled: int = 0
    arrived: int = 0

    def put(self, time: float, kind: str, who: int) -> None:
        """Add an event."""
        if time < math.inf:
            heapq.heappush(self.events, (time, next(self.number), kind, who))

    def go(self) -> float:
        """Handle events until the server ends the round; return when."""
        while self.events:
            time, _, kind, who = heapq.heappop(self.events)
            if kind == "end":
                return time
            if kind == "known":  # that a device is lost
                self.settled += 1
            elif kind == "arrive":
                self.devices[who].fate = "merged"
                self.settled += 1
                self.arrived += 1
                if self.arrived == self.quorum:
                    self.put(time + self.grace, "end", who)
            else:
                self.device_event(time, kind, who)
            if self.settled == len(self.devices):
                # Updates that arrive at this very moment count, so the end is an event of its own.
                self.put(time, "end", who)
        raise AssertionError("a round has a timeout")

    def device_event(self, time: float, kind: str, who: int) -> None:
        """Handle what happens at a device."""
        device = self.devices[who]
        if device.fate:
            return
        device.stop(time)
        if kind in ("interrupted", "left"):
            device.fate = kind
            self.put(time + self.detect, "known", who)
        elif kind == "done":
            device.worked = device.work
            device.fate = "sent"
            self.free = max(time, self.free + self.slot_up)
            self.put(self.free, "arrive", who)
        elif kind == "pause" or device.opens(time) > time:
            self.put(device.opens(time + (kind == "pause") * 1e-6), "work", who)
        else:
            device.since = time
            rest = device.work - device.worked
            calm = device.patience - device.worked
            ends = {"done": time + rest, "interrupted": time + calm, "pause": device.closes(time)}
            if not calm < rest:
                del ends["interrupted"]
            kind = min(ends, key=lambda name: ends[name])
            self.put(ends[kind], kind, who)


def simulate_by_events(assumed: EdgeAssumptions, seed: int = 0) -> EdgeRun:
    """Simulate as ``simulate_devices`` does, but event by event; for small numbers of devices.

    Raises:
        LacyError: E365 or E366, the assumptions do not make sense.
    """
    return run_rounds(Scenario(assumed, seed), _slow_round)


def _slow_round(
    scenario: Scenario, begin: float, turn: int, chosen_K: Ints, new_K: np.ndarray
) -> tuple[RoundOutcome, Ints]:
    fleet, algorithm, link = scenario.fleet, scenario.algorithm, scenario.link
    profile = fleet.profile(chosen_K)
    tasks = plan_tasks(fleet, profile, chosen_K, new_K, turn, algorithm, scenario.work, link)
    leaves_K = fleet.leaves(chosen_K, begin)[1]
    columns = (tasks.work, tasks.patience, profile.start, profile.length, leaves_K)
    devices = [
        _Device(float(w), float(p), float(s), float(h), float(left))
        for w, p, s, h, left in zip(*columns, strict=True)
    ]
    quorum = math.ceil(algorithm.quorum * len(devices) - 1e-9)
    turn_of = _Round(begin, link.grace, link.detect, tasks.slot_up, quorum, devices)
    server_free = begin
    for who, device in enumerate(devices):
        turn_of.put(server_free, "work", who)
        turn_of.put(device.leaves, "left", who)
        server_free += float(tasks.slot_down[who])
    turn_of.put(begin + link.timeout, "end", -1)
    end = turn_of.go()
    outcome = RoundOutcome(begin, end, chosen=len(devices))
    for who, device in enumerate(devices):
        device.stop(end)
        _count(outcome, device, who, tasks, profile)
    merged_K = np.array([device.fate == "merged" for device in devices])
    if algorithm.exchange != "server":
        update = scenario.work.update_bytes(algorithm.bits)
        seconds, sent = peer_exchange(profile, merged_K, algorithm, update, link)
        outcome.end += seconds
        for who in np.flatnonzero(merged_K).tolist():
            outcome.transfer_seconds += seconds
            outcome.joules += seconds * float(profile.send_watts[who])
            outcome.bytes_up += sent
            outcome.bytes_down += sent
    outcome.useful_flop = outcome.tokens * scenario.work.flop_per_token
    outcome.offered_flop = sum(float(f) * (outcome.end - begin) for f in profile.flops)
    return outcome, chosen_K[merged_K]


def _count(
    outcome: RoundOutcome, device: _Device, who: int, tasks: Tasks, profile: Profile
) -> None:
    """Add one device to the sums of a round."""
    receive, compute, send = (float(a[who]) for a in (tasks.receive, tasks.compute, tasks.send))
    head = float(tasks.head[who])
    received = min(device.worked, receive)
    computed = min(max(device.worked - head, 0.0), compute)
    sent_from = receive if tasks.overlap else receive + compute
    sent = min(max(device.worked - sent_from, 0.0), send)
    outcome.compute_seconds += computed
    outcome.transfer_seconds += received + sent
    outcome.joules += computed * float(profile.compute_watts[who])
    outcome.joules += (received + sent) * float(profile.send_watts[who])
    outcome.bytes_down += float(tasks.bytes_down[who]) * received / receive if receive else 0.0
    outcome.bytes_up += float(tasks.bytes_up[who]) * sent / send if send else 0.0
    if device.fate == "merged":
        outcome.merged += 1
        outcome.tokens += float(tasks.tokens[who])
    elif device.fate in ("interrupted", "left"):
        setattr(outcome, device.fate, getattr(outcome, device.fate) + 1)
    else:
        outcome.late += 1
