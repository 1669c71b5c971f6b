"""Errors of typed decisions."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    "E380": Entry(
        "{where} cannot be decided: {why}",
        "a question is an object with type (noul, choice or score), instructions and criteria; see "
        "docs/how-to/decide.md",
        USAGE,
        "A noul is answered by yes or no, a choice by one of its labels, a score by one of its "
        "levels. Labels and levels must differ.",
    ),
    "E381": Entry(
        "{where}: {why}",
        "write one object per line with state, question, type, options and answer; see "
        "docs/how-to/decide.md",
        DATA,
    ),
    "E382": Entry(
        "state and question have {tokens} tokens, more than {limit} ({what})",
        "shorten the state, or ask fewer questions at once; nothing is truncated",
        USAGE,
    ),
    "E383": Entry(
        "no decision head in {path}: {why}",
        "fit one: lacy decide fit DECISIONS.jsonl --model MODEL --out {path}",
        DATA,
    ),
    "E384": Entry(
        "the decision head {path} was fitted to another {what} ({wanted}, not {found})",
        "give the {what} that it was fitted to, or fit it again: lacy decide fit",
        USAGE,
        "A head reads the hidden states or vectors of one model. Those of another one, or of the "
        "same one after training, mean something else.",
    ),
    "E385": Entry(
        "{count} decisions are too few to {what} a head; {least} are needed",
        "add decisions with known answers, or hold out another share: --held-out 0.3",
        DATA,
    ),
    "E386": Entry(
        "the model cannot decide: {why}",
        "give a model in this process without --vocabulary, or a head for a text encoder "
        "(lacy decide fit without --model)",
        USAGE,
    ),
}
