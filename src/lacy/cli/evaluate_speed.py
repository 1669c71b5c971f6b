"""``lacy evaluate --speed``: size, speed, memory, energy and price of a model."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lacy._text import format_bytes
from lacy.cli.terminal import say, table

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.efficiency import EfficiencyMeasured
    from lacy.results import Result


def measure_speed(config: EvaluateConfig) -> EfficiencyMeasured:
    """Measure what the model costs, alone and, with a source, with calls."""
    from lacy.cascade import open_engine, split_policy
    from lacy.efficiency import Efficiency, Load, RateCard
    from lacy.model import load_model, set_precision

    name, named = split_policy(config.model)
    loaded = load_model(name)
    set_precision(loaded.model, config.dtype)
    load = Load(
        prompt_tokens=config.prompt_tokens, new_tokens=config.new_tokens, repeat=config.repeat,
        batch_size=config.batch_size,
    )  # fmt: skip
    rate = None if config.rate is None else RateCard(config.rate)
    measure = Efficiency(
        loaded, load, files=name if Path(name).is_file() else None, reference=config.reference,
        rate=rate, dtype=config.dtype,
    )  # fmt: skip
    say("Sizes and operations", file=sys.stderr)
    measure.sizes()
    measure.privacy()
    say("Peak memory of a fresh process", file=sys.stderr)
    measure.peak(name)
    config.tailor(loaded)
    asked = []
    if config.questions is not None:
        from lacy.evaluate import read_questions

        asked = read_questions(config.questions)[: config.people]
    texts = []
    if config.texts is not None:
        from lacy.corpus import read

        texts = [d.text for d in itertools.islice(read(config.texts), config.people) if d.text]
    chosen: list[str | None] = [*config.policies] or ["never", *([named] if config.source else [])]
    for policy in chosen:
        engine = open_engine(
            loaded, [] if policy == "never" else config.source, policy,
            calibration=0 if policy == "never" else config.calibrate, unit=config.unit,
            cache=config.cache, prices=config.price,
        )  # fmt: skip
        say(f"Speed: {engine.policy}", file=sys.stderr)
        measure.speed(engine, texts)
        if asked:
            measure.right_answers(engine, asked)
    return measure.measured()


def show_speed(measured: EfficiencyMeasured) -> None:
    """Print sizes, then a table for each policy, then what is not available and why."""
    from lacy.results import metric_of

    found = [result for result in measured.results() if "not available" not in result.conditions]
    groups: dict[str, dict[str, list[Result]]] = {}
    for result in found:
        group = groups.setdefault(result.conditions.get("policy", ""), {})
        group.setdefault(result.metric, []).append(result)
    for policy, metrics in groups.items():
        rows = [
            (metric_of(metric).label, *(_value(result) for result in values))
            for metric, values in metrics.items()
        ]
        title = f"Policy {policy}" if policy else "The model"
        wide = max(map(len, rows)) == 3
        body = [(*row, "")[:3] if wide else row for row in rows]
        table(title, body, ("", "value or median", "95th percentile") if wide else ("", "value"))
    first = found[0].conditions
    print(f"On {first['device']}, {first['threads']} threads, {first['dtype']}.")
    for metric, why in measured.missing.items():
        print(f"Not available: {metric_of(metric).label} ({why}).")


def _value(result: Result) -> str:
    """Return a value with its unit and interval."""
    from lacy.report import format_score

    if result.unit == "bytes":
        return format_bytes(result.value)
    return f"{format_score(result)} {result.unit}"
