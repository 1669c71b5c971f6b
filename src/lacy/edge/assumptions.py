"""What a simulation assumes: devices, a server, a model, a token budget and an algorithm.

All of it is one YAML file. Presets that ship with lacy give the source of every figure, or say that
it is an assumption. Nothing here needs torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lacy._convert import Problem, read_fields
from lacy._text import did_you_mean
from lacy.config import load
from lacy.edge.draws import Spread
from lacy.errors import LacyError

PRESETS_FOLDER = Path(__file__).parent / "presets"
"""Folder of the assumptions that ship with lacy."""

MOST_DEVICES = 1_000_000_000
"""Largest population; numbers of devices are multiplied in 64 bits."""


@dataclass(frozen=True)
class DeviceClass:
    """One class of devices. Properties that differ between devices may be spreads."""

    share: float = 1.0
    """Part of all devices, relative to the other classes; the number of devices of this class if
    the shares add up to the population (at most 10,000)."""
    flops: float | Spread = 1e11
    """FLOP per second that training sustains, not the peak of a data sheet."""
    memory_gb: float | Spread = 8.0
    """Memory, in 10^9 bytes."""
    memory_share: float = 0.5
    """Share of the memory that training may use."""
    down_mbps: float | Spread = 50.0
    """Received megabits per second."""
    up_mbps: float | Spread = 20.0
    """Sent megabits per second."""
    hours: float | Spread = 24.0
    """Hours per day in which a device may work: idle, charging, on an unmetered network."""
    starts: float | Spread = 0.0
    """Local hour of the day at which these hours begin; beyond 24 means the next day."""
    zone: float | Spread = 0.0
    """Hours by which the local time is behind the server's."""
    interrupted_hours: float = 0.0
    """Mean hours of work until a device is interrupted and its round is lost; 0 for never."""
    stays_days: float = 0.0
    """Mean days until a device leaves for good; 0 for never."""
    replaced_days: float = 0.0
    """Mean days until a new device takes the place of one that left; .inf for never."""
    compute_watts: float | Spread = 0.0
    """Additional power while computing, at the socket."""
    send_watts: float | Spread = 0.0
    """Additional power while receiving or sending."""


@dataclass(frozen=True)
class EdgeServer:
    """The server that sends models and merges updates."""

    up_gbps: float = 10.0
    """Gigabits per second that the server sends to all devices together."""
    down_gbps: float = 10.0
    """Gigabits per second that the server receives."""
    round_seconds: float = 1.0
    """Seconds between the end of a round and the begin of the next one."""
    detect_minutes: float = 1.0
    """Minutes until the server knows that a device is lost."""
    retry_minutes: float = 10.0
    """Minutes until the server looks again if too few devices are available."""
    latency_ms: float = 50.0
    """Milliseconds until a message arrives, besides the time that its bytes take."""


@dataclass(frozen=True)
class EdgeAlgorithm:
    """How devices train one model together. A round is local training and one exchange."""

    name: str = "diloco"
    steps: int = 500
    """Local steps of a device per round (H)."""
    batch_tokens: int = 1024
    """Tokens per step and device."""
    sampled: int = 1000
    """Devices per round, chosen among the available ones; 0 for all of them."""
    at_least: int = 1
    """Available devices without which no round begins."""
    bits: float = 16.0
    """Bits per parameter of an update, with scales and indices."""
    bits_down: float = 16.0
    """Bits per parameter of what a device receives."""
    exchange: Literal["server", "ring", "gather"] = "server"
    """server: devices send to the server and receive from it. ring: devices exchange sums with
    their neighbours (all-reduce). gather: every device sends its update to every other one."""
    quorum: float = 1.0
    """Share of the round's devices after whose updates the round ends."""
    grace_minutes: float = 0.0
    """Minutes that the server waits for more updates after the quorum."""
    timeout_hours: float = 24.0
    """Hours after which a round ends in any case."""
    overlap: bool = False
    """Devices compute while they send and receive (streaming)."""
    same_time: bool = False
    """Devices make as many steps as fit the time in which the median device makes ``steps``;
    updates are weighted by their tokens."""
    keep: bool = False
    """Devices stay for the next round as long as they can, instead of being sampled afresh."""


_ROUNDS: dict[str, Any] = {"quorum": 0.8, "grace_minutes": 5.0}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "synchronous": {"steps": 1, "exchange": "ring", "keep": True},
    "fedavg": {"steps": 50, "bits": 32.0, "bits_down": 32.0, **_ROUNDS},
    "diloco": {"steps": 500, **_ROUNDS},
    "streaming": {"steps": 100, "bits": 4.0, "overlap": True, "keep": True, **_ROUNDS},
    "sparse": {"steps": 50, "bits": 0.3, **_ROUNDS},
    "decoupled": {"steps": 500, "bits": 4.25, "same_time": True, "quorum": 0.5,
                  "grace_minutes": 10.0},
}  # fmt: skip
"""Settings of known algorithms; everything may be changed.

- synchronous: all-reduce of 16-bit gradients in every step;
- fedavg: McMahan et al. 2017 (arXiv 1602.05629);
- diloco: arXiv 2311.08105, with updates in 16 bits as in OpenDiLoCo (2407.07852);
- streaming: arXiv 2501.18512, 4-bit updates, overlapped;
- sparse: SparseLoCo (arXiv 2508.15706), 2% of the entries, 2 bits and about 13 for the index;
- decoupled: Decoupled DiLoCo (arXiv 2604.21428), quorum, grace window, weights by tokens.

Quorum and grace window of the others are ours: DiLoCo bears that some updates are missing
(2311.08105, section 3).
"""


@dataclass
class EdgeAssumptions:
    """Everything that a simulation of devices assumes."""

    # [Devices]
    devices: dict[str, Any] = field(default_factory=dict)
    """Classes of devices by name, each with its settings: share, flops, memory_gb, memory_share,
    down_mbps, up_mbps, hours, starts, zone, interrupted_hours, stays_days, replaced_days,
    compute_watts, send_watts. The guide on simulations explains them."""
    population: int = 10_000
    """Number of devices at the start, of all classes together."""
    # [Training]
    model: str = "360m"
    """A model of lacy (135m, 360m, 1b, ...), or a number of parameters such as 1.3e9."""
    tokens: float = 7.2e9
    """Tokens that the model needs when batches are small."""
    vocabulary: int = 49_153
    """Tokens of the vocabulary, for a model of lacy."""
    context: int = 1024
    """Tokens per row, for a model of lacy."""
    flop_per_token: float = 0.0
    """Operations to train on one token; 0 to compute them (6 per parameter, and attention)."""
    bytes_per_parameter: float = 16.0
    """Memory for training: weights, gradients and two moments of Adam in 32 bits."""
    critical_batch_tokens: float = 1e6
    """Batch at which twice as many tokens are needed: tokens x (1 + batch / critical batch), after
    McCandlish et al. 2018 (arXiv 1812.06162); .inf for no limit."""
    algorithm: Any = "diloco"
    """Name of an algorithm, or a mapping of its name and changed settings."""
    server: EdgeServer = field(default_factory=EdgeServer)
    """The server."""
    # [Simulation]
    price_per_kwh: float = 0.2
    """Price of energy at the devices, in dollars."""
    horizon_days: float = 3650.0
    """Days after which a simulation ends without a result."""
    device_rounds: float = 3e7
    """Device rounds to simulate; what is left is extrapolated."""
    rounds: int = 20_000
    """Rounds to simulate; what is left is extrapolated."""


def preset_assumptions() -> list[str]:
    """Return the names of the assumptions that ship with lacy."""
    return sorted(file.stem for file in PRESETS_FOLDER.glob("*.yaml"))


def assumptions_file(path: str | Path) -> Path:
    """Return the file of assumptions, given its path or the name of one that ships with lacy.

    Raises:
        LacyError: E13, there is none.
    """
    names = preset_assumptions()
    if Path(path).exists():  # a file of that name has precedence
        return Path(path)
    if str(path) not in names:
        do = f"check the spelling{did_you_mean(str(path), names)}; shipped: {', '.join(names)}"
        raise LacyError("E13", path=path, do=do)
    return PRESETS_FOLDER / f"{path}.yaml"


def read_assumptions(
    path: str | Path, overrides: Mapping[str, Any] | None = None
) -> EdgeAssumptions:
    """Read and check assumptions.

    Args:
        path: a YAML file, or the name of assumptions that ship with lacy.
        overrides: values by dotted name, such as ``{"population": 1000, "algorithm.steps": 50}``.

    Raises:
        LacyError: for the same reasons as ``config.load``; E365 with all problems.
    """
    assumed = load(EdgeAssumptions, assumptions_file(path), command="federate simulate")
    assumed = changed(assumed, overrides or {})
    check_assumptions(assumed)
    return assumed


def changed(assumed: EdgeAssumptions, overrides: Mapping[str, Any]) -> EdgeAssumptions:
    """Return a copy with other values; ``algorithm.steps`` and ``server.up_gbps`` are dotted."""
    top: dict[str, Any] = {}
    algorithm = assumed.algorithm
    if "algorithm" in overrides:
        algorithm = overrides["algorithm"]
    algorithm = {"name": algorithm} if isinstance(algorithm, str) else dict(algorithm)
    server: dict[str, Any] = {}
    for dotted, value in overrides.items():
        group, _, name = dotted.rpartition(".")
        if group == "algorithm":
            algorithm[name] = value
        elif group == "server":
            server[name] = value
        elif dotted != "algorithm":
            top[dotted] = value
    return dataclasses.replace(
        assumed, algorithm=algorithm, server=dataclasses.replace(assumed.server, **server), **top
    )


def device_classes(assumed: EdgeAssumptions) -> dict[str, DeviceClass]:
    """Return the classes of devices by name."""
    return dict(_classes(assumed, []))


def algorithm_of(assumed: EdgeAssumptions) -> EdgeAlgorithm:
    """Return the algorithm with all its settings."""
    problems: list[str] = []
    found = _algorithm(assumed, problems)
    assert found is not None, problems
    return found


def check_assumptions(assumed: EdgeAssumptions) -> None:
    """Raise E365 with all problems of assumptions."""
    problems = list(_problems(assumed))
    if problems:
        raise LacyError("E365", problems="".join(f"\n  - {sentence}" for sentence in problems))


def _classes(assumed: EdgeAssumptions, problems: list[str]) -> Iterator[tuple[str, DeviceClass]]:
    for name, given in assumed.devices.items():
        if isinstance(given, DeviceClass):
            yield name, given
            continue
        found: list[Problem] = []
        if not isinstance(given, Mapping):
            problems.append(f"devices.{name} is {given!r}, expected its settings")
            continue
        values = read_fields(DeviceClass, given, f"devices.{name}.", found)
        problems += map(_sentence, found)
        if not found:
            yield name, DeviceClass(**values)


def _algorithm(assumed: EdgeAssumptions, problems: list[str]) -> EdgeAlgorithm | None:
    given = assumed.algorithm
    if isinstance(given, EdgeAlgorithm):
        return given
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name") not in ALGORITHMS:
        name = given.get("name") if isinstance(given, Mapping) else given
        hint = did_you_mean(str(name), ALGORITHMS)
        problems.append(f"algorithm is {name!r}{hint}; they are {', '.join(ALGORITHMS)}")
        return None
    found: list[Problem] = []
    values = read_fields(EdgeAlgorithm, {**ALGORITHMS[given["name"]], **given}, "algorithm.", found)
    problems += map(_sentence, found)
    return None if found else EdgeAlgorithm(**values)


def _sentence(problem: Problem) -> str:
    if not problem.expected:
        return f"there is no setting {problem.key}{problem.hint}"
    return f"{problem.key} is {problem.value!r}, expected {problem.expected}{problem.hint}"


LIMITS: dict[str, tuple[float, float]] = {
    "share": (0.0, 1e12), "flops": (1.0, 1e21), "memory_gb": (1e-3, 1e9),
    "memory_share": (0.0, 1.0), "down_mbps": (1e-3, 1e9), "up_mbps": (1e-3, 1e9),
    "hours": (0.1, 24.0), "starts": (-48.0, 72.0), "zone": (-24.0, 24.0),
    "interrupted_hours": (0.0, math.inf), "compute_watts": (0.0, 1e7), "send_watts": (0.0, 1e7),
    "population": (1, MOST_DEVICES), "tokens": (1.0, 1e18), "vocabulary": (2, 10**8),
    "context": (1, 10**8), "flop_per_token": (0.0, 1e18), "bytes_per_parameter": (0.1, 1e3),
    "price_per_kwh": (0.0, 1e6), "horizon_days": (1e-6, 36_500.0), "device_rounds": (1.0, 1e12),
    "rounds": (1, 10**9),
    "up_gbps": (1e-6, 1e9), "down_gbps": (1e-6, 1e9), "round_seconds": (0.0, 1e6),
    "detect_minutes": (0.0, 1e5), "retry_minutes": (1.0, 1440.0), "latency_ms": (0.0, 1e6),
    "steps": (1, 10**9), "batch_tokens": (1, 10**9), "sampled": (0, MOST_DEVICES),
    "at_least": (1, MOST_DEVICES), "bits": (1e-4, 64.0), "bits_down": (1e-4, 64.0),
    "grace_minutes": (0.0, 1e5), "timeout_hours": (1e-3, 1e5),
}  # fmt: skip
"""Smallest and largest values of settings."""


def _problems(assumed: EdgeAssumptions) -> Iterator[str]:
    problems: list[str] = []
    classes = dict(_classes(assumed, problems))
    algorithm = _algorithm(assumed, problems)
    yield from problems
    if not assumed.devices:
        yield "devices is empty; give at least one class of devices"
    yield from _outside(assumed, "")
    yield from _outside(assumed.server, "server.")
    if not assumed.critical_batch_tokens > 0:
        yield f"critical_batch_tokens is {assumed.critical_batch_tokens:g}, it is above 0"
    for name, one in classes.items():
        yield from _outside(one, f"devices.{name}.")
        for key in ("stays_days", "replaced_days"):
            if not (days := getattr(one, key)) >= 0:
                yield f"devices.{name}.{key} is {days:g}, it is at least 0"
        if 0 < one.stays_days < 0.25:
            yield (f"devices.{name}.stays_days is {one.stays_days:g}, it is at least 0.25; "
                   "shorter absences are interruptions (interrupted_hours)")  # fmt: skip
    if classes and not sum(one.share for one in classes.values()) > 0:
        yield "the shares of all classes of devices are 0"
    if algorithm is not None:
        yield from _outside(algorithm, "algorithm.")
        if not 0 < algorithm.quorum <= 1:
            yield f"algorithm.quorum is {algorithm.quorum:g}, it is above 0 and at most 1"
        most = min(algorithm.sampled or assumed.population, max(1, assumed.population))
        if algorithm.at_least > most:
            least = algorithm.at_least
            yield f"algorithm.at_least is {least}, but at most {most} devices take part in a round"


def _outside(settings: Any, prefix: str) -> Iterator[str]:
    """Yield the settings that are outside their limits."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.name not in LIMITS:
            continue
        low, high = LIMITS[item.name]
        if isinstance(value, Spread):
            if problem := value.problem():
                yield f"{prefix}{item.name}: {problem}"
                continue
            bounded = value.median is not None  # a log-normal value is cut off at the limits
            least, most = (value.median, value.p90 or value.median) if bounded else (
                value.least, value.most)  # fmt: skip
        else:
            least = most = value
        assert least is not None and most is not None
        if not (low <= least and most <= high) or math.isnan(least):
            shown = least if not low <= least else most
            yield f"{prefix}{item.name} is {shown:g}, it is between {low:g} and {high:g}"
