"""Errors of compressions."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E320-E329: compressions
    "E320": Entry(
        "the plan cannot be carried out:{problems}",
        "correct them; lacy compress --help shows a plan",
        USAGE,
        "A plan is checked as a whole before anything is done.",
    ),
    "E321": Entry(
        "llama.cpp cannot run {path}: {why}",
        "measure without speed (measure.speed: false in the plan), or update xllamacpp",
        DATA,
        "Speed and memory of a GGUF file are measured in a fresh process with llama.cpp.",
    ),
    "E322": Entry(
        "{path} has too few texts: {texts} for the steps and {held_out} to measure on; at least "
        "{least} and {least_held_out} are needed",
        "give more texts (a fifth is held out), or other texts for measuring by --held-out",
        DATA,
        "Steps read texts of the domain, and stages are measured on texts that no step has read.",
    ),
    "E323": Entry(
        "the results ({out}) and the model ({model}) are in each other's folder",
        "name another folder: --out runs/compressed",
        USAGE,
        "The original model is only read; results are written elsewhere.",
    ),
    "E324": Entry(
        "not enough disk space in {out}: about {needed} are needed, {free} are free",
        "free some space, name a folder on another disk (--out), or shorten the plan",
        DATA,
        "Every step is stored as a model of its own, so that a stopped compression goes on.",
    ),
}
