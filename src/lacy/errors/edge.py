"""Errors of simulations of devices."""

from __future__ import annotations

from lacy.errors.entry import USAGE, Entry

ENTRIES = {
    # E365-E369: simulations of devices
    "E365": Entry(
        "the assumptions do not make sense:{problems}",
        "correct them; lacy help config federate simulate lists all settings",
        USAGE,
        "Assumptions are checked as a whole before anything is simulated.",
    ),
    "E366": Entry(
        "there is no model {model!r}{hint}",
        "name one of {known}, or give a number of parameters, such as --model 1.3e9",
        USAGE,
        "A simulation needs the size of a model, not the model.",
    ),
    "E367": Entry(
        "a simulation of {runs} runs for {days} days is not possible",
        "give at least one run (--runs 5), and a number of days above 0 (--days 30)",
        USAGE,
        "The answer is about a time: can these devices train this model within some days?",
    ),
    "E368": Entry(
        "{path} exists already",
        "name another file, or delete it first",
        USAGE,
        "A file of assumptions may have been edited, so it is never overwritten.",
    ),
}
