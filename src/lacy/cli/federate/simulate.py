"""``lacy federate simulate``: can these devices train this model?"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lacy.cli.terminal import note, say, table
from lacy.config import Positional, Rare, to_dict
from lacy.edge import (
    EdgeAnswer,
    EdgeAssumptions,
    answer_sentences,
    can_devices_train,
    format_days,
    read_assumptions,
)


@dataclass
class SimulateDevicesFlags:
    """Answer by simulation: can these devices train this model within some days?

    Devices are drawn from distributions: sustained speed, memory, bandwidth, hours per day,
    interruptions, energy. They train in rounds with a server that merges updates. ASSUMPTIONS is a
    YAML file with all of this, or one that ships with lacy: phones, home, h100, paper; --copy-to
    writes one to edit. The answer says which assumption matters most. OUT receives simulate.json
    and report.html with plots.
    """

    assumptions: Positional[str] = "phones"
    """A YAML file of assumptions, or phones, home, h100 or paper."""
    # [Question]
    devices: int | None = None
    """Number of devices."""
    model: str | None = None
    """A model of lacy (135m, 360m, 1b, ...), or a number of parameters such as 1.3e9."""
    tokens: float | None = None
    """Tokens that the model needs when batches are small."""
    days: float = 30.0
    """Days within which the training should end."""
    # [Algorithm]
    algorithm: str | None = None
    """synchronous, fedavg, diloco, streaming, sparse or decoupled; also changes the settings below
    to those of the algorithm."""
    sampled: int | None = None
    """Devices per round, chosen among the available ones; 0 for all of them."""
    steps: int | None = None
    """Local steps of a device per round (H)."""
    batch_tokens: Rare[int | None] = None
    """Tokens per step and device."""
    bits: float | None = None
    """Bits per parameter of an update, with scales and indices."""
    quorum: float | None = None
    """Share of the round's devices after whose updates the round ends."""
    grace_minutes: Rare[float | None] = None
    """Minutes that the server waits for more updates after the quorum."""
    # [Simulation]
    runs: int = 5
    """Number of simulations with different seeds."""
    seed: int = 0
    """The first seed."""
    vary: bool = True
    """Also simulate with every assumption halved and doubled."""
    horizon_days: Rare[float | None] = None
    """Days after which a simulation ends without a result."""
    # [Output]
    out: Path | None = None
    """Folder of the results; by default runs/simulate-ASSUMPTIONS."""
    copy_to: Path | None = None
    """Write the assumptions to this file, with the sources of their figures, and stop."""


FILE = False
FLAGS, SETTINGS = SimulateDevicesFlags, EdgeAssumptions
EXAMPLES = """
lacy federate simulate phones --devices 10000000 --model 360m --tokens 7.2e9 --algorithm diloco
lacy federate simulate home --days 7 --steps 20
lacy federate simulate phones --copy-to mine.yaml
"""


def run(flags: SimulateDevicesFlags) -> int:
    """Simulate, print the answer, and write it."""
    from lacy import report
    from lacy.run import write_atomic

    if flags.copy_to is not None:
        return _copy(flags.assumptions, flags.copy_to)
    assumed = read_assumptions(flags.assumptions, _overrides(flags))
    answer = can_devices_train(
        assumed, flags.days, runs=flags.runs, seed=flags.seed, vary=flags.vary, notify=note
    )
    out = flags.out or Path("runs") / f"simulate-{Path(flags.assumptions).stem}"
    write_atomic(out / "simulate.json", json.dumps(answer_data(answer), indent=2) + "\n")
    report.write_edge_page(out / "report.html", answer)
    _print(answer)
    say(f"Written: {out / 'report.html'} and {out / 'simulate.json'}")
    return 0


def _overrides(flags: SimulateDevicesFlags) -> dict[str, Any]:
    """Return the assumptions that flags change."""
    values: dict[str, Any] = {
        "population": flags.devices, "model": flags.model, "tokens": flags.tokens,
        "algorithm": flags.algorithm, "horizon_days": flags.horizon_days,
    }  # fmt: skip
    for name in ("sampled", "steps", "batch_tokens", "bits", "quorum", "grace_minutes"):
        values[f"algorithm.{name}"] = getattr(flags, name)
    return {name: value for name, value in values.items() if value is not None}


def _copy(name: str, target: Path) -> int:
    """Write assumptions to a file that can be edited."""
    from lacy.edge import assumptions_file
    from lacy.errors import LacyError
    from lacy.run import write_atomic

    if target.exists():
        raise LacyError("E368", path=target)
    write_atomic(target, assumptions_file(name).read_text(encoding="utf-8"))
    say(f"Written: {target}. Edit it, then: lacy federate simulate {target}")
    return 0


def answer_data(answer: EdgeAnswer) -> dict[str, Any]:
    """Return an answer as plain data for a JSON file."""
    from lacy.results import as_data
    from lacy.run import environment

    return {
        "answer": answer_sentences(answer),
        "wanted_days": answer.wanted_days,
        "can": answer.can,
        "figures": as_data(answer.figures()),
        "varied": [as_data(one) for one in answer.varied],
        "runs": [as_data({**asdict(run), "days": run.days}) for run in answer.runs],
        "model": as_data(answer.work),
        "assumptions": as_data(to_dict(answer.assumed)),
        "environment": environment(),
    }


def _print(answer: EdgeAnswer) -> None:
    from lacy.report import format_score

    for sentence in answer_sentences(answer):
        say(sentence)
    if answer.finished:
        rows = [
            (name, format_score(score), "" if score.unit == "share" else score.unit)
            for name, score in answer.figures().items()
        ]
        table(f"Means of {len(answer.finished)} runs", rows, ("", "mean [95% interval]", "unit"))
    horizon = answer.assumed.horizon_days
    varied = [
        (one.name, one.kind, format_days(one.halved, horizon), format_days(one.doubled, horizon))
        for one in answer.varied
        if one.width > 1.01
    ]
    if varied:
        usual = format_days(answer.usual_days, horizon)
        title = f"One at a time, halved and doubled (as assumed: {usual})"
        table(title, varied, ("", "", "halved", "doubled"))
    same = [one.name for one in answer.varied if not one.width > 1.01]
    if same and math.isfinite(answer.usual_days):
        say(f"No effect above 1%: {', '.join(same)}.")
