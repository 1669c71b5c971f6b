"""Simulate traffic at a front door, with measured latencies and the routers' real decisions.

Requests arrive by a Poisson process or in bursts (a two-state Markov-modulated Poisson process).
Each is assigned at random to one of the arms. An arm without a router sends everything to the large
model. The other arms have a router of one core that takes requests one at a time, in order, with
service times drawn from those that were measured; the decision is the one that this router really
made about this text, by a head that was not trained on the text's source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TIERS = {
    "code": "large", "maths": "large", "facts": "large", "support": "small", "general": "small",
    "harmful": "refuse",
}  # fmt: skip
"""Which model answers a class: the assumption under which a decision is right or wrong."""


@dataclass(frozen=True)
class Arm:
    """One arm of the experiment.

    Attributes:
        name: its name.
        chosen: the chosen class of each case; None for the arm that always asks the large model.
        service_ms: measured milliseconds of single decisions.
    """

    name: str
    chosen: list[str] | None
    service_ms: Floats


def arrivals(kind: str, rate: float, count: int, rng: np.random.Generator) -> Floats:
    """Return arrival times in seconds.

    Args:
        kind: ``poisson``, or ``bursty``: in bursts, the rate is five times the mean; a burst
            lasts 2 seconds on average and a pause 18, during which the rest arrives.
        rate: mean requests per second.
        count: number of requests.
        rng: random numbers.
    """
    if kind == "poisson":
        return np.cumsum(rng.exponential(1 / rate, count))
    times: list[float] = []
    now, burst = 0.0, False
    while len(times) < count:
        length = rng.exponential(2.0 if burst else 18.0)
        # 10% of the time is in bursts: 0.1 * 5 + 0.9 * 5 / 9 = 1.
        mine = rate * (5.0 if burst else 5.0 / 9.0)
        times += (now + np.sort(rng.uniform(0, length, rng.poisson(mine * length)))).tolist()
        now, burst = now + length, not burst
    return np.array(times[:count])


def finish_times(arrival_N: Floats, service_N: Floats) -> Floats:
    """Return when each request is done at one server that takes them in order."""
    done_N = np.empty(len(arrival_N))
    free = 0.0
    for place, (come, takes) in enumerate(zip(arrival_N, service_N, strict=True)):
        free = max(free, come) + takes
        done_N[place] = free
    return done_N


def simulate(
    arms: list[Arm], true: list[str], kind: str, rate: float, count: int, seed: int,
    price: dict[str, float],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Run the experiment once and return figures of each arm.

    Args:
        arms: the arms.
        true: the class of each case.
        kind: how requests arrive.
        rate: requests per second of all arms together.
        count: number of requests.
        seed: seed of arrivals, cases, arms and service times.
        price: cost of one request by tier, and of a second of a router's core under ``core``.
    """
    rng = np.random.default_rng(seed)
    arrival_N = arrivals(kind, rate, count, rng)
    case_N, arm_N = rng.integers(len(true), size=count), rng.integers(len(arms), size=count)
    found = {}
    for number, arm in enumerate(arms):
        mine = np.flatnonzero(arm_N == number)
        wanted = [TIERS[true[case]] for case in case_N[mine]]
        service_N = rng.choice(arm.service_ms, len(mine)) / 1e3
        done_N = finish_times(arrival_N[mine], service_N)
        waited_ms = 1e3 * (done_N - arrival_N[mine])
        got = ["large"] * len(mine)
        if arm.chosen is not None:
            got = [TIERS[arm.chosen[case]] for case in case_N[mine]]
        spent = sum(price[one] for one in got) + price["core"] * float(service_N.sum())
        weak = sum(a == "large" and b == "small" for a, b in zip(wanted, got, strict=True))
        unsafe = sum(a == "refuse" and b != "refuse" for a, b in zip(wanted, got, strict=True))
        refused = sum(a != "refuse" and b == "refuse" for a, b in zip(wanted, got, strict=True))
        size = max(1, len(mine))
        found[arm.name] = {
            "requests": len(mine),
            "unique_cases": len(set(case_N[mine].tolist())),
            "router_ms": {f"p{p}": round(float(np.percentile(waited_ms, p)), 2)
                          for p in (50, 95, 99)},
            "right_tier": round(sum(a == b for a, b in zip(wanted, got, strict=True)) / size, 4),
            "to_large": round(sum(one == "large" for one in got) / size, 4),
            "too_weak": round(weak / size, 4),
            "harmful_let_through": round(unsafe / size, 4),
            "wrongly_refused": round(refused / size, 4),
            "cost_per_1000": round(1e3 * spent / size, 4),
            "busy": round(float(service_N.sum() / (done_N[-1] if len(mine) else 1.0)), 3),
        }  # fmt: skip
    return found
