"""Statistics of one model on true texts, read once, so that a cascade starts well.

Two things are measured on texts with marks. First, how likely values are *where their kind is due*:
reference texts for the reference log-likelihood, and how far a right value may be below it. Second,
the signals at every position where the model would decide: a running quantile starts with them
instead of an empty window (``policy.Budget.initial_signals``).
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
from lacy.cascade.reference import ReferenceLikelihoods, ReferenceText, ValueKey
from lacy.cascade.signals import call_id_of, teacher_forced_signals
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Document, MarkFlag

MAX_SIGNALS = 1000
"""Most signals kept."""

MIN_VALUES = 5
"""A kind with fewer values is not calibrated."""

REFERENCE_TEXTS = 3
"""Reference texts per kind, of middle length: at the very beginning of a text the model may expect
other values than later."""

MAX_VALUES = 25
"""Values of a kind that are compared with their reference log-likelihood."""

LOW_QUANTILE = 0.04
"""The quantile of the differences that counts as the lowest score that still fits."""


@dataclass(frozen=True, slots=True)
class KindFit:
    """The calibration of one kind of value."""

    references: tuple[ReferenceText, ...]
    """Texts that stop where a value of the kind is due, with their subjects."""
    low: float
    """``LOW_QUANTILE`` of log p(value in its true place) - its reference log-likelihood (nats)."""
    n: int
    """Number of values measured."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of ``calibrate``, for ``Engine(calibration=...)``."""

    kinds: Mapping[str, KindFit] = field(default_factory=dict)
    """Fits by relation (or by reason, for marks without a relation)."""
    signals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """At most ``MAX_SIGNALS`` of each signal, drawn evenly from where the model decides."""
    ends: tuple[int, ...] = ()
    """Tokens that followed a value."""
    _reference: dict[int, ReferenceLikelihoods] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def reference(self, loaded: Any) -> ReferenceLikelihoods:
        """Return the reference log-likelihoods under a model (the one that was calibrated).

        All engines with the same model and calibration share them.
        """
        key = id(loaded.model)  # unique while the value refers to the model
        if key not in self._reference:
            references = {kind: fit.references for kind, fit in self.kinds.items()}
            self._reference[key] = ReferenceLikelihoods(
                loaded.model, loaded.tokenizer, references, call_id_of(loaded), self.ends
            )
        return self._reference[key]

    def save(self, path: str | Path) -> None:
        """Write it as JSON, atomically."""
        data = {
            "kinds": {k: [fit.references, fit.low, fit.n] for k, fit in self.kinds.items()},
            "signals": {name: list(values) for name, values in self.signals.items()},
            "ends": list(self.ends),
        }
        write_atomic(path, json.dumps(data) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file written by ``save``.

        Raises:
            LacyError: E64, the file is no calibration.
        """
        try:
            data: Any = parse_json(Path(path).read_text(encoding="utf-8"))
            kinds = {
                k: KindFit(tuple(ReferenceText(*map(str, r)) for r in texts), float(low), int(n))
                for k, (texts, low, n) in data["kinds"].items()
            }
            signals = {k: tuple(float(v) for v in values) for k, values in data["signals"].items()}
            ends = tuple(int(token) for token in data["ends"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LacyError("E64", path=path, why=str(error)) from error
        return cls(kinds, signals, ends)


def calibrate(loaded: Any, documents: Iterable[Document]) -> Calibration:
    """Measure a model on true texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: about a hundred texts with marks, preferably none that are evaluated later. A
            mark's kind is its relation, or its reason if it has no relation.

    Returns:
        Fits of the kinds with at least ``MIN_VALUES`` values, and the signals.
    """
    texts = {document.id: document for document in documents}
    found: dict[str, list[tuple[ReferenceText, str]]] = {}
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
            for kind, text, value in _values(texts[signals.id]):
                found.setdefault(kind, []).append((text, value))
    references = {
        kind: _middle_length([r for r, _ in seen])
        for kind, seen in found.items()
        if len(seen) >= MIN_VALUES
    }
    follow = tuple(sorted(ends))
    reference = ReferenceLikelihoods(
        loaded.model, loaded.tokenizer, references, call_id_of(loaded), follow
    )
    kinds = {}
    for kind, stops in references.items():
        seen = [s for s in found[kind] if s[0] not in stops] or found[kind]
        seen = seen[:: math.ceil(len(seen) / MAX_VALUES)]
        keys = [ValueKey(r.subject, kind, value) for r, value in seen]
        due = reference.look_up(keys)
        here = reference.after([(r.text, value) for r, value in seen])
        below = [logp - due[key] for logp, key in zip(here, keys, strict=True)]
        kinds[kind] = KindFit(stops, float(np.quantile(below, LOW_QUANTILE)), len(below))
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


def _middle_length(references: list[ReferenceText]) -> tuple[ReferenceText, ...]:
    """Return the references of middle length, ordered by length."""
    ordered = sorted(set(references), key=lambda reference: (len(reference.text), reference))
    first = max(0, (len(ordered) - REFERENCE_TEXTS) // 2)
    return tuple(ordered[first : first + REFERENCE_TEXTS])


def _values(document: Document) -> Iterable[tuple[str, ReferenceText, str]]:
    """Yield kind, text before (with its subject, if named in it), and value of each mark."""
    named = document.meta.get("person") or document.meta.get("title")
    subject = named if isinstance(named, str) and named in document.text else ""
    for mark in document.marks:
        before = document.text[: mark.start].rstrip(" ")
        value = document.text[mark.start : mark.end].strip()
        if before and value and mark.reason != "CONTENT":
            about = subject if subject in before else ""
            yield mark.relation or mark.reason, ReferenceText(before, about), value


def _evenly(parts: list[np.ndarray]) -> tuple[float, ...]:
    """Return at most ``MAX_SIGNALS`` finite values at equal distances."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return ()
    step = math.ceil(len(values) / MAX_SIGNALS)
    return tuple(float(value) for value in values[::step])
