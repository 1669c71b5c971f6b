"""The section of costs: size, speed, memory and energy, alone and in cascade."""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

from lacy.results import Measurement
from lacy.scorecard.combined import ByPolicy
from lacy.scorecard.inputs import ScorecardInputs

LOAD = {"repeat": 10, "batches": 2}
"""The timed work (``lacy.efficiency.Load``)."""


def measure_costs(loaded: Any, inputs: ScorecardInputs, policies: Mapping[str, str]) -> Measurement:
    """Measure what the model costs.

    In cascade, the facts that ship with lacy answer calls, and the prompts are sentences about
    their subjects, so that calls find something.

    Args:
        loaded: the model.
        inputs: its name.
        policies: when to call, by condition.
    """
    from lacy import almanac
    from lacy.cascade import Engine
    from lacy.efficiency import Efficiency, Load
    from lacy.sources.db import Database

    subjects = almanac.load_subjects()
    texts = [article.text for article in almanac.write_articles(subjects, inputs.seed)]
    dtype = "bf16" if "bfloat16" in str(loaded.model.dtype) else "fp32"
    found = Efficiency(loaded, Load(**LOAD), dtype=dtype)
    found.sizes()
    found.privacy()
    if inputs.model:
        found.peak(inputs.model)
    with TemporaryDirectory() as folder:
        path = almanac.write_facts(f"{folder}/facts.sqlite", subjects)
        with Database(path, name="facts") as source:
            for policy in policies.values():
                found.speed(Engine(loaded, None if policy == "never" else source, policy), texts)
    names = {policy: name for name, policy in policies.items()}
    return ByPolicy(found.measured(), lambda policy: names.get(policy, policy))
