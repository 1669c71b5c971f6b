"""The fast simulation: all devices of a round as arrays.

Within a round, devices do not influence each other except at the server: its connection sends one
model after another and receives one update after another, and it ends the round by quorum, grace
window or timeout. So the events of a device follow in closed form, the queue at the server is a
running maximum, and a round costs a sort. ``by_events.py`` does the same event by event.

Memory does not depend on the number of devices, only on how many take part in one round: about 400
bytes each.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import numpy as np

from lacy.edge.assumptions import EdgeAlgorithm, EdgeAssumptions, algorithm_of, check_assumptions
from lacy.edge.draws import Floats, Ints
from lacy.edge.fleet import CHUNK, Fleet, Profile
from lacy.edge.outcome import EdgeRun, RoundOutcome, extrapolated, thinned
from lacy.edge.timing import Link, Tasks, peer_exchange, plan_tasks
from lacy.edge.windows import DAY, active_until, time_after
from lacy.edge.workload import workload_of

FIT_SAMPLE = 1_000_000
"""Devices on which the share whose memory suffices is measured; the fleet if it is smaller."""

RoundRunner = Callable[..., tuple[RoundOutcome, Ints]]


class Scenario:
    """Checked assumptions with one seed: what both simulations need.

    Args:
        assumed: the assumptions.
        seed: everything random depends on it.

    Raises:
        LacyError: E365 or E366, the assumptions do not make sense.
    """

    def __init__(self, assumed: EdgeAssumptions, seed: int = 0) -> None:
        check_assumptions(assumed)
        self.assumed = assumed
        self.algorithm = algorithm_of(assumed)
        self.work = workload_of(assumed, self.algorithm)
        self.link = Link.of(assumed, self.algorithm)
        # A round that takes this many devices needs more memory than their properties.
        everyone = 4 * (self.algorithm.sampled or assumed.population) >= assumed.population
        self.fleet = Fleet(assumed, seed, remember=everyone)

    @property
    def most(self) -> int:
        """Largest number of devices in a round."""
        return min(self.algorithm.sampled or self.fleet.size, self.fleet.size)

    def eligible(self, numbers_N: Ints, time: float) -> Ints:
        """Return those devices that have enough memory and are available at a time."""
        return self.fleet.available(numbers_N, time, self.work.memory_bytes)

    def choose(self, time: float, turn: int, team: Ints) -> tuple[Ints, np.ndarray]:
        """Return the devices of a round, and which of them have no current model."""
        kept_K = self.eligible(team, time)
        missing = self.most - len(kept_K)
        found, begin = [kept_K], 0
        size = min(CHUNK, max(1024, 2 * missing))
        while missing > 0 and begin < self.fleet.size:
            fresh = self.eligible(self.fleet.order(turn, begin, size), time)
            if len(kept_K):
                fresh = fresh[~np.isin(fresh, kept_K)]
            found.append(fresh[:missing])
            missing -= len(found[-1])
            begin, size = begin + size, min(CHUNK, 2 * size)
        chosen_K = np.concatenate(found)
        return chosen_K, np.arange(len(chosen_K)) >= len(kept_K)

    def share_that_fits(self) -> float:
        """Return the share of devices whose memory holds the training."""
        fits = count = 0
        for numbers_N in self.fleet.chunks(FIT_SAMPLE):
            fits += int(self.fleet.fits(numbers_N, self.work.memory_bytes).sum())
            count += len(numbers_N)
        return fits / count


def simulate_devices(
    assumed: EdgeAssumptions, seed: int = 0, *, on_round: Callable[[EdgeRun], object] | None = None
) -> EdgeRun:
    """Simulate a training until its token budget or the horizon is reached.

    Args:
        assumed: the assumptions.
        seed: everything random depends on it.
        on_round: called after every round.

    Raises:
        LacyError: E365 or E366, the assumptions do not make sense.
    """
    return run_rounds(Scenario(assumed, seed), _fast_round, on_round)


def run_rounds(
    scenario: Scenario, one_round: RoundRunner, on_round: Callable[[EdgeRun], object] | None = None
) -> EdgeRun:
    """Repeat rounds until the end; ``one_round`` computes what happens in one."""
    assumed, algorithm = scenario.assumed, scenario.algorithm
    run = EdgeRun(scenario.fleet.seed, devices_that_fit=scenario.share_that_fits())
    horizon, now, team = assumed.horizon_days * DAY, 0.0, np.empty(0, dtype=np.int64)
    whole_day: EdgeRun | None = None  # the state after the first whole day
    turn = 0
    while run.useful_tokens < assumed.tokens:
        if now >= horizon or run.devices_that_fit == 0.0:
            return dataclasses.replace(
                run, seconds=math.inf, progress=run.useful_tokens / assumed.tokens
            )
        chosen_K, new_K = scenario.choose(now, turn, team)
        turn += 1
        if len(chosen_K) < algorithm.at_least or not len(chosen_K):
            now += scenario.link.retry
            run.waited_seconds += scenario.link.retry
            continue
        outcome, team = one_round(scenario, now, turn, chosen_K, new_K)
        team = team if algorithm.keep else team[:0]
        run.add(outcome, algorithm, assumed.critical_batch_tokens)
        run.seconds = outcome.end
        run.timeline = thinned(
            [*run.timeline, (outcome.end / DAY, min(1.0, run.useful_tokens / assumed.tokens))]
        )
        now = outcome.end + scenario.link.between
        if on_round is not None:
            on_round(run)
        enough = run.sums["chosen"] >= assumed.device_rounds or run.rounds >= assumed.rounds
        if enough and run.useful_tokens < assumed.tokens:
            done = extrapolated(run, assumed.tokens, _earlier(whole_day, run), run.seconds)
            return done if done.seconds <= horizon else dataclasses.replace(done, seconds=math.inf)
        if run.seconds >= DAY and whole_day is None:
            whole_day = copy.deepcopy(run)
    return dataclasses.replace(run, progress=1.0)


def _earlier(whole_day: EdgeRun | None, run: EdgeRun) -> EdgeRun | None:
    """Return the state after the first day if more than another day was simulated since."""
    if whole_day is not None and run.seconds - whole_day.seconds >= DAY:
        return whole_day
    return None


def _fast_round(
    scenario: Scenario, begin: float, turn: int, chosen_K: Ints, new_K: np.ndarray
) -> tuple[RoundOutcome, Ints]:
    """Return what happens in one round, and which devices have the new model at its end."""
    fleet, algorithm, link = scenario.fleet, scenario.algorithm, scenario.link
    profile = fleet.profile(chosen_K)
    tasks = plan_tasks(fleet, profile, chosen_K, new_K, turn, algorithm, scenario.work, link)
    window = (profile.start, profile.length)
    _, leaves_K = fleet.leaves(chosen_K, begin)
    # The server sends one model after another, in the order of the devices.
    first_K = begin + np.cumsum(tasks.slot_down) - tasks.slot_down
    ready_K = time_after(first_K, tasks.work, *window)
    broken_K = time_after(first_K, np.minimum(tasks.patience, tasks.work), *window)
    interrupted_K = (tasks.patience < tasks.work) & (broken_K <= leaves_K)
    left_K = ~interrupted_K & (leaves_K < ready_K)
    lost_K = interrupted_K | left_K
    lost_at_K = np.where(interrupted_K, broken_K, leaves_K)
    arrived_K = _queued(np.where(lost_K, np.inf, ready_K), tasks.slot_up)
    end = _end_of_round(begin, arrived_K, np.where(lost_K, lost_at_K, -np.inf), algorithm, link)
    merged_K = arrived_K <= end
    outcome = RoundOutcome(begin, end, chosen=len(chosen_K))
    worked_K = _worked(first_K, np.minimum(end, leaves_K), merged_K, tasks, profile)
    _added(outcome, worked_K, merged_K, tasks, profile)
    outcome.interrupted, outcome.left = (
        int((mask_K & (lost_at_K <= end)).sum()) for mask_K in (interrupted_K, left_K)
    )
    outcome.late = len(chosen_K) - outcome.merged - outcome.interrupted - outcome.left
    if algorithm.exchange != "server":
        _exchanged(outcome, scenario, profile, merged_K)
    outcome.useful_flop = outcome.tokens * scenario.work.flop_per_token
    outcome.offered_flop = float(profile.flops.sum() * (outcome.end - begin))
    return outcome, chosen_K[merged_K]


def _exchanged(
    outcome: RoundOutcome, scenario: Scenario, profile: Profile, merged_K: np.ndarray
) -> None:
    """Add the exchange between peers, which begins when the round would end."""
    update = scenario.work.update_bytes(scenario.algorithm.bits)
    seconds, sent = peer_exchange(profile, merged_K, scenario.algorithm, update, scenario.link)
    outcome.end += seconds
    outcome.transfer_seconds += seconds * outcome.merged
    outcome.joules += seconds * float(profile.send_watts[merged_K].sum())
    outcome.bytes_up += sent * outcome.merged
    outcome.bytes_down += sent * outcome.merged


def _queued(ready_K: Floats, slot: float) -> Floats:
    """Return when each update has arrived: the server receives one after another.

    With updates in the order in which they become ready, ``arrived_k = max(ready_k, arrived_(k-1) +
    slot)``, which is a running maximum of ``ready_k - k * slot``.
    """
    order_K = np.argsort(ready_K, kind="stable")
    place_K = np.arange(len(ready_K)) * slot
    arrived_K = np.empty_like(ready_K)
    arrived_K[order_K] = np.maximum.accumulate(ready_K[order_K] - place_K) + place_K
    return arrived_K


def _end_of_round(
    begin: float, arrived_K: Floats, lost_at_K: Floats, algorithm: EdgeAlgorithm, link: Link
) -> float:
    """Return when the server ends the round: quorum and grace, all are settled, or timeout."""
    count = len(arrived_K)
    quorum = math.ceil(algorithm.quorum * count - 1e-9)
    enough = float(np.partition(arrived_K, quorum - 1)[quorum - 1]) + link.grace
    settled_K = np.where(np.isfinite(arrived_K), arrived_K, lost_at_K + link.detect)
    return float(min(enough, settled_K.max(), begin + link.timeout))


def _worked(
    first_K: Floats, stop_K: Floats, merged_K: np.ndarray, tasks: Tasks, profile: Profile
) -> Floats:
    """Return the seconds that each device has worked until it was told to stop."""
    window = (profile.start, profile.length)
    stop_K = np.maximum(first_K, stop_K)
    passed_K = active_until(stop_K, *window) - active_until(first_K, *window)
    cut_K = np.minimum(np.minimum(tasks.work, tasks.patience), np.maximum(passed_K, 0.0))
    # Who was merged has done all its work; the clock would say so only up to rounding.
    return np.where(merged_K, tasks.work, cut_K)


def _added(
    outcome: RoundOutcome, worked_K: Floats, merged_K: np.ndarray, tasks: Tasks, profile: Profile
) -> None:
    """Add work, energy and bytes of all devices to the outcome of a round."""
    received_K, computed_K, sent_K = tasks.split(worked_K)
    outcome.merged = int(merged_K.sum())
    outcome.tokens = float(tasks.tokens[merged_K].sum())
    outcome.compute_seconds = float(computed_K.sum())
    outcome.transfer_seconds = float((received_K + sent_K).sum())
    outcome.joules = float(
        computed_K @ profile.compute_watts + (received_K + sent_K) @ profile.send_watts
    )
    outcome.bytes_down = float(_parts(received_K, tasks.receive) @ tasks.bytes_down)
    outcome.bytes_up = float(_parts(sent_K, tasks.send) @ tasks.bytes_up)


def _parts(done_K: Floats, whole_K: Floats) -> Floats:
    """Return the share of each task that is done; 0 for a task of no length."""
    return np.divide(done_K, whole_K, out=np.zeros_like(done_K), where=whole_K > 0)
