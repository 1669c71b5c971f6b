"""Energy of a computation, from the machine's own counters: RAPL of processors, NVML of GPUs.

Where neither can be read, there is no number: ``EnergyMeter.why`` says what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of energy."""

    name: str
    read: Callable[[], float]
    """Returns joules since some moment."""
    wraps: float = 0.0
    """Joules after which it begins again at 0; 0 for never."""


class EnergyMeter:
    """Measures joules between two moments.

    Args:
        device: ``cpu`` for processors; ``cuda`` for these and the GPU.
        powercap: folder of RAPL's counters.
    """

    def __init__(self, device: str = "cpu", powercap: Path = POWERCAP) -> None:
        self.counters, reasons = _rapl(powercap)
        if device == "cuda":
            found, why = _nvml()
            self.counters += found
            reasons += why
        self.why = "; ".join(reasons)
        """Why something is not measured; "" if nothing is missing."""
        self._last: list[float] = []

    @property
    def available(self) -> bool:
        """True if any energy is measured."""
        return bool(self.counters)

    @property
    def name(self) -> str:
        """The counters in words."""
        return ", ".join(counter.name for counter in self.counters)

    def start(self) -> None:
        """Begin to measure."""
        self._last = [counter.read() for counter in self.counters]

    def joules(self) -> float:
        """Return the joules since ``start``. A counter must not wrap more than once."""
        total = 0.0
        for counter, before in zip(self.counters, self._last, strict=True):
            used = counter.read() - before
            total += used + counter.wraps if used < 0 else used
        return total

    def idle_watts(self, seconds: float = 2.0) -> float:
        """Return the power while this process waits, in watts."""
        self.start()
        begin = time.perf_counter()
        time.sleep(seconds)
        return self.joules() / (time.perf_counter() - begin)


def _rapl(powercap: Path) -> tuple[list[Counter], list[str]]:
    """Return the counters of processor packages and memory, and what cannot be read."""
    zones = sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []
    counters, reasons = [], []
    for zone in zones:
        name = (zone / "name").read_text(encoding="utf-8").strip()
        # Cores are part of their package; memory is counted beside it.
        if ":" in zone.name.removeprefix("intel-rapl:") and name != "dram":
            continue
        try:
            limit = float((zone / "max_energy_range_uj").read_text()) / 1e6
            (zone / "energy_uj").read_text()
        except OSError:
            reasons.append(f"RAPL {name}: {zone / 'energy_uj'} is readable by root only")
            continue
        counters.append(Counter(f"RAPL {name}", _reader(zone / "energy_uj"), limit))
    if not zones:
        reasons.append(f"RAPL: there is no {powercap}/intel-rapl:* on this machine")
    return counters, reasons


def _reader(file: Path) -> Callable[[], float]:
    return lambda: float(file.read_text()) / 1e6


def _nvml() -> tuple[list[Counter], list[str]]:
    """Return the energy counter of the current GPU, and what cannot be read."""
    try:
        import pynvml

        pynvml.nvmlInit()
        import torch

        handle: Any = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except ImportError:
        return [], ["NVML: the package nvidia-ml-py is not installed"]
    except Exception as error:  # pynvml raises one class per error code
        return [], [f"NVML: {error}"]
    return [
        Counter("NVML", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000.0)
    ], []
