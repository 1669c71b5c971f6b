"""Measurements of several conditions as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lacy.results import Measurement, Result, UnitCounts


@dataclass(frozen=True, slots=True)
class Combined:
    """Measurements by condition; each result gets the name of its condition."""

    parts: Mapping[str, Measurement]

    def results(self) -> list[Result]:
        """Return the results of all parts."""
        return [
            replace(result, conditions={**result.conditions, "condition": name})
            for name, part in self.parts.items()
            for result in part.results()
        ]

    def units(self) -> list[UnitCounts]:
        """Return the counts of all parts that have counts."""
        return [
            replace(units, conditions={**units.conditions, "condition": name})
            for name, part in self.parts.items()
            for units in getattr(part, "units", list)()
        ]


@dataclass(frozen=True, slots=True)
class Selected:
    """The results of a measurement that a scorecard shows."""

    part: Measurement
    shown: Callable[[Result], bool]

    def results(self) -> list[Result]:
        """Return the chosen results."""
        return [result for result in self.part.results() if self.shown(result)]


@dataclass(frozen=True, slots=True)
class ByPolicy:
    """A measurement whose results name a policy, which decides on their condition."""

    part: Measurement
    condition: Callable[[str], str]
    """Returns the condition of a policy."""

    def results(self) -> list[Result]:
        """Return the results; those without a policy belong to no condition."""
        found = []
        for result in self.part.results():
            policy = result.conditions.get("policy")
            name = "" if policy is None else self.condition(policy)
            found.append(replace(result, conditions={**result.conditions, "condition": name}))
        return found
