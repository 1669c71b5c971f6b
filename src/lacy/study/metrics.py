"""What is measured of each model and condition: names, and what they are made from. No pandas."""

from __future__ import annotations

RATIOS: dict[str, tuple[str, str, str]] = {
    "facts_right": ("right", "claims", "share"),
    "recall": ("right", "facts", "share"),
    "facts_per_answer": ("claims", "answers", "facts per answer"),
    "calls_per_answer": ("calls", "answers", "calls per answer"),
    "calls_per_fact": ("calls", "claims", "calls per fact"),
    "calls_per_statement": ("calls", "statements", "calls per statement"),
    "call_rate": ("called", "tokens", "share"),
    "finished": ("finished", "answers", "share"),
    "own_right": ("own_right", "own", "share"),
    "borrowed_right": ("borrowed_right", "borrowed", "share"),
    "borrowed": ("borrowed", "claims", "share"),
    "call_starts": ("due", "calls", "share"),
}
"""Metrics that are a ratio of two columns of ``facts.COLUMNS``, with their unit."""

READ: dict[str, tuple[str, ...]] = {
    **{
        f"auroc_{signal}_{what}": ("calls", "separation", signal, where)
        for signal in ("margin", "p_call", "entropy", "top2")
        for what, where in (("start", "value_start"), ("fact", "fact"), ("later", "later"))
    },
    "call_precision": ("calls", "at_rate", "precision"),
    "call_recall": ("calls", "at_rate", "recall"),
    "start_recall": ("calls", "at_rate", "start_recall"),
    "argmax_rate": ("calls", "at_zero", "call_rate"),
    "argmax_precision": ("calls", "at_zero", "precision"),
    "argmax_start_recall": ("calls", "at_zero", "start_recall"),
    "calibration_error": ("calls", "calibration", "error"),
    "decision_error": ("calls", "decision", "error"),
    "language_loss": ("language_loss",),
    "fact_loss": ("fact_loss",),
    "stored_bits": ("bits", "per_fact"),
    "stored_share": ("bits", "share"),
    "closed_book_recall": ("closed_book", "start"),
}
"""Metrics of a model itself: where they stand in its reading."""
