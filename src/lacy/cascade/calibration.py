"""What a model's signals look like on true texts, read once, so that a cascade starts well.

Two things are learned from texts with marks. How likely a value is *where its kind is due*:
reference texts for ``usual``, and how far below that a right value may fall. And the signals at
every place where the model would decide: a running quantile begins with them instead of an empty
window (``policy.Budget.seeds``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lacy._parse import parse_json
from lacy.cascade.signals import call_row, teacher_forced_signals
from lacy.cascade.usual import Key, Reference, Usual
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Document, MarkFlag

SEEDS = 1000
"""Signals kept."""

LEAST = 5
"""Values of a kind below which nothing is learned of it."""

REFERENCES = 3
"""Reference texts of a kind, of middling length: what a model says at the very beginning of a text
it may not say later."""

VALUES = 25
"""Values of a kind that are held against their usual likelihood."""

LOW = 0.04
"""Which quantile of the differences counts as the least that still fits."""


@dataclass(frozen=True, slots=True)
class KindFit:
    """What is known of one kind of value."""

    references: tuple[Reference, ...]
    """Texts that stop where a value of the kind is due, with whom they are about."""
    low: float
    """``LOW`` quantile of log p(value in its true place) - its usual log-likelihood (nats)."""
    n: int
    """Values that was measured on."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned; ``Engine(calibration=...)`` uses it."""

    kinds: Mapping[str, KindFit] = field(default_factory=dict)
    """By relation (or, where marks have none, by reason)."""
    signals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By name: at positions where the model decides, at most ``SEEDS`` evenly drawn."""
    ends: tuple[int, ...] = ()
    """Tokens that were seen to follow a value."""
    _usual: dict[int, Usual] = field(default_factory=dict, init=False, repr=False, compare=False)

    def usual(self, loaded: Any) -> Usual:
        """Usual likelihoods under a model (the one that was calibrated).

        Engines of one model and calibration share what they find out: it depends on nothing else.
        """
        key = id(loaded.model)  # stays this model's: the value holds the model
        if key not in self._usual:
            references = {kind: fit.references for kind, fit in self.kinds.items()}
            self._usual[key] = Usual(
                loaded.model, loaded.tokenizer, references, call_row(loaded), self.ends
            )
        return self._usual[key]

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        data = {
            "kinds": {k: [fit.references, fit.low, fit.n] for k, fit in self.kinds.items()},
            "signals": {name: list(values) for name, values in self.signals.items()},
            "ends": list(self.ends),
        }
        write_atomic(path, json.dumps(data) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what ``save`` wrote.

        Raises:
            LacyError: E64, the file holds something else.
        """
        try:
            data: Any = parse_json(Path(path).read_text(encoding="utf-8"))
            kinds = {
                k: KindFit(tuple(Reference(*map(str, r)) for r in texts), float(low), int(n))
                for k, (texts, low, n) in data["kinds"].items()
            }
            signals = {k: tuple(float(v) for v in values) for k, values in data["signals"].items()}
            ends = tuple(int(token) for token in data["ends"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LacyError("E64", path=path, why=str(error)) from error
        return cls(kinds, signals, ends)


def calibrate(loaded: Any, documents: Iterable[Document]) -> Calibration:
    """Read a model along true texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: texts with marks, a hundred or so, best not those that scores are taken on. A
            mark's kind is its relation, or its reason where it has none.

    Returns:
        Fits of the kinds with at least ``LEAST`` values, and the signals.
    """
    texts = {document.id: document for document in documents}
    found: dict[str, list[tuple[Reference, str]]] = {}
    ends: set[int] = set()
    pooled: dict[str, list[np.ndarray]] = {"margin": [], "p_call": [], "entropy": [], "top2": []}
    for signals in teacher_forced_signals(loaded, texts.values()):
        fact = (signals.marks & MarkFlag.FACT) > 0
        start = (signals.marks & MarkFlag.START) > 0
        for name, parts in pooled.items():
            parts.append(getattr(signals, name)[start | ~fact])
        after = fact[:-1] & (~fact[1:] | start[1:])
        ends.update(signals.targets[1:][after].tolist())
        if not signals.truncated:
            for kind, reference, value in _values(texts[signals.id]):
                found.setdefault(kind, []).append((reference, value))
    references = {
        kind: _middling([r for r, _ in seen]) for kind, seen in found.items() if len(seen) >= LEAST
    }
    follow = tuple(sorted(ends))
    usual = Usual(loaded.model, loaded.tokenizer, references, call_row(loaded), follow)
    kinds = {}
    for kind, stops in references.items():
        seen = [s for s in found[kind] if s[0] not in stops] or found[kind]
        seen = seen[:: math.ceil(len(seen) / VALUES)]
        keys = [Key(r.subject, kind, value) for r, value in seen]
        due = usual.look_up(keys)
        here = usual.after([(r.text, value) for r, value in seen])
        below = [logp - due[key] for logp, key in zip(here, keys, strict=True)]
        kinds[kind] = KindFit(stops, float(np.quantile(below, LOW)), len(below))
    signals_kept = {name: _evenly(parts) for name, parts in pooled.items() if parts}
    return Calibration(kinds, signals_kept, follow)


def truncate_document(document: Document, tokenizer: Any, length: int) -> Document:
    """Cut a text to a number of tokens, between marks.

    Args:
        document: a text with marks.
        tokenizer: a fast tokenizer.
        length: maximum number of tokens, including those that begin and end a text.
    """
    tokens = tokenizer(
        document.text, add_special_tokens=False, return_offsets_mapping=True,
        split_special_tokens=True,
    )  # fmt: skip
    places = tokens["offset_mapping"]
    if len(places) + 2 <= length:
        return document
    end = places[length - 2][0]
    crossing = [mark.start for mark in document.marks if mark.start < end < mark.end]
    end = min([end, *crossing])
    marks = tuple(mark for mark in document.marks if mark.end <= end)
    return replace(document, text=document.text[:end].rstrip(), marks=marks)


def _middling(references: list[Reference]) -> tuple[Reference, ...]:
    """The references of middle length, in the order of their lengths."""
    ordered = sorted(set(references), key=lambda reference: (len(reference.text), reference))
    first = max(0, (len(ordered) - REFERENCES) // 2)
    return tuple(ordered[first : first + REFERENCES])


def _values(document: Document) -> Iterable[tuple[str, Reference, str]]:
    """Kind, text before, and value of each mark; the subject where the text names it."""
    named = document.meta.get("person") or document.meta.get("title")
    subject = named if isinstance(named, str) and named in document.text else ""
    for mark in document.marks:
        before = document.text[: mark.start].rstrip(" ")
        value = document.text[mark.start : mark.end].strip()
        if before and value and mark.reason != "CONTENT":
            about = subject if subject in before else ""
            yield mark.relation or mark.reason, Reference(before, about), value


def _evenly(parts: list[np.ndarray]) -> tuple[float, ...]:
    """At most ``SEEDS`` finite values, drawn at equal distances."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return ()
    step = math.ceil(len(values) / SEEDS)
    return tuple(float(value) for value in values[::step])
