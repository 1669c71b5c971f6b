"""Choose an objective that keeps teaching a student to call, beside its teacher."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lacy.model import Loaded, gate_of
from lacy.objective import Objective

ALL_STARTS = 0.5
"""Call rate for a gate: above the share of value starts, so that all of them are delegated."""


def calls_objective(student: Loaded) -> tuple[Objective, str]:
    """Return the objective that the student was trained with, and a sentence that names it.

    A separate gate (``lacy tune``) is trained at the starts of values. A model that ``lacy train``
    trained goes on with its own settings; any other gets their defaults.
    """
    if gate_of(student.model) == "sigmoid":
        gate = Objective(delegate="start", call_rate=ALL_STARTS, call_negative="sigmoid")
        return gate, "Calls: the gate goes on learning at the starts of values."
    stored: dict[str, Any] = student.meta.get("training", {}).get("settings", {})
    own = {
        entry.name: stored[entry.name]
        for entry in fields(Objective)
        if stored.get(entry.name) is not None
    }
    if own.get("method", "none") == "none":
        return Objective(), "Calls: learned as by lacy train."
    return Objective(**own), f"Calls: learned as before (method {own['method']})."
