"""Calibration: statistics of one model on true texts, which policies and rankings start from.

Two things are measured on texts with marks. First, how likely values are *where their kind is due*:
this gives reference texts for the reference log-likelihood, and how far below it a right value may
be. Second, the signals at every position where the model would decide: a budget's running quantile
starts from them instead of an empty window (``policy.Budget.initial_signals``).
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
from lacy.cascade.gate_entropy import GateEntropy
from lacy.cascade.reference import ReferenceLikelihoods, ReferenceText, ValueKey
from lacy.cascade.signals import call_id_of, teacher_forced_signals
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Document, MarkFlag

MAX_SIGNALS = 1000
"""Maximum number of values kept of each signal."""

MIN_VALUES = 5
"""Minimum number of values of a kind; kinds with fewer values are not calibrated."""

REFERENCE_TEXTS = 3
"""Number of reference texts per kind. Those of middle length are taken, because at the very
beginning of a text the model may expect other values than later."""

MAX_VALUES = 25
"""Maximum number of values per kind that are compared with their reference log-likelihood."""

LOW_QUANTILE = 0.04
"""This quantile of the differences is taken as the lowest score that still fits."""


@dataclass(frozen=True, slots=True)
class KindFit:
    """The calibration of one kind of value."""

    references: tuple[ReferenceText, ...]
    """Texts that end right before a value of the kind, with their subjects."""
    low: float
    """``LOW_QUANTILE`` of log p(value at its true place) minus its reference log-likelihood."""
    n: int
    """Number of values measured."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of ``calibrate``, for ``Engine(calibration=...)``."""

    kinds: Mapping[str, KindFit] = field(default_factory=dict)
    """Fits by kind: a relation or, for marks without a relation, a reason."""
    signals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """At most ``MAX_SIGNALS`` values of each signal, evenly spaced over the texts."""
    ends: tuple[int, ...] = ()
    """Tokens that followed a value in the texts."""
    _reference: dict[int, ReferenceLikelihoods] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def reference(self, loaded: Any) -> ReferenceLikelihoods:
        """Return the reference log-likelihoods under the model that was calibrated.

        They are cached, so all engines with this model and calibration share them.
        """
        key = id(loaded.model)  # unique, as the cached value keeps the model alive
        if key not in self._reference:
            references = {kind: fit.references for kind, fit in self.kinds.items()}
            self._reference[key] = ReferenceLikelihoods(
                loaded.model, loaded.tokenizer, references, call_id_of(loaded), self.ends
            )
        return self._reference[key]

    def save(self, path: str | Path) -> None:
        """Write the calibration to a JSON file, atomically."""
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
            LacyError: E64, the file is not a calibration.
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


def calibrate(loaded: Any, documents: Iterable[Document], *, kinds: bool = True) -> Calibration:
    """Calibrate a model on true texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: about a hundred texts with marks, preferably not used for evaluation later. The
            kind of a mark is its relation or, without one, its reason.
        kinds: False measures signals only.
    """
    texts = {document.id: document for document in documents}
    values_of_kind: dict[str, list[tuple[ReferenceText, str]]] = {}
    ends: set[int] = set()
    signal_parts: dict[str, list[np.ndarray]] = {
        "margin": [],
        "p_call": [],
        "entropy": [],
        "top2": [],
    }
    gate_entropy = GateEntropy.from_meta(getattr(loaded, "meta", None))
    if gate_entropy is not None:
        signal_parts["gate+entropy"] = []
    for signals in teacher_forced_signals(loaded, texts.values()):
        fact = (signals.marks & MarkFlag.FACT) > 0
        start = (signals.marks & MarkFlag.START) > 0
        for name, parts in signal_parts.items():
            if name == "gate+entropy" and gate_entropy is not None:
                signal = gate_entropy(signals.margin, signals.entropy)
            else:
                signal = getattr(signals, name)
            parts.append(signal[start | ~fact])
        after = fact[:-1] & (~fact[1:] | start[1:])
        ends.update(signals.targets[1:][after].tolist())
        if kinds and not signals.truncated:
            for kind, text, value in _values(texts[signals.id]):
                values_of_kind.setdefault(kind, []).append((text, value))
    references = {
        kind: _middle_length([r for r, _ in values])
        for kind, values in values_of_kind.items()
        if len(values) >= MIN_VALUES
    }
    end_tokens = tuple(sorted(ends))
    shortened = {
        kind: tuple(reference.shortened() for reference in chosen)
        for kind, chosen in references.items()
    }
    reference = ReferenceLikelihoods(
        loaded.model, loaded.tokenizer, shortened, call_id_of(loaded), end_tokens
    )
    fits = {}
    for kind, reference_texts in references.items():
        values = [s for s in values_of_kind[kind] if s[0] not in reference_texts] or values_of_kind[
            kind
        ]
        values = values[:: math.ceil(len(values) / MAX_VALUES)]
        keys = [ValueKey(r.subject, kind, value) for r, value in values]
        reference_logp = reference.look_up(keys)
        logps = reference.after([(r.text, value) for r, value in values])
        differences = [logp - reference_logp[key] for logp, key in zip(logps, keys, strict=True)]
        fits[kind] = KindFit(
            shortened[kind], float(np.quantile(differences, LOW_QUANTILE)), len(differences)
        )
    spaced_signals = {name: _evenly(parts) for name, parts in signal_parts.items() if parts}
    return Calibration(fits, spaced_signals, end_tokens)


def truncate_document(document: Document, tokenizer: Any, length: int) -> Document:
    """Cut a text to a number of tokens, between marks.

    Args:
        document: a text with marks.
        tokenizer: a fast tokenizer.
        length: maximum number of tokens, including the begin and end tokens.
    """
    tokens = tokenizer(
        document.text, add_special_tokens=False, return_offsets_mapping=True,
        split_special_tokens=True,
    )  # fmt: skip
    offsets = tokens["offset_mapping"]
    if len(offsets) + 2 <= length:
        return document
    end = offsets[length - 2][0]
    crossing = [mark.start for mark in document.marks if mark.start < end < mark.end]
    end = min([end, *crossing])
    marks = tuple(mark for mark in document.marks if mark.end <= end)
    return replace(document, text=document.text[:end].rstrip(), marks=marks)


def _middle_length(references: list[ReferenceText]) -> tuple[ReferenceText, ...]:
    """Return ``REFERENCE_TEXTS`` texts of middle length, ordered by length."""
    ordered = sorted(set(references), key=lambda reference: (len(reference.text), reference))
    first = max(0, (len(ordered) - REFERENCE_TEXTS) // 2)
    return tuple(ordered[first : first + REFERENCE_TEXTS])


def _values(document: Document) -> Iterable[tuple[str, ReferenceText, str]]:
    """Yield for each mark its kind, the text before it, and its value."""
    title = document.meta.get("person") or document.meta.get("title")
    subject = title if isinstance(title, str) and title in document.text else ""
    for mark in document.marks:
        before = document.text[: mark.start].rstrip(" ")
        value = document.text[mark.start : mark.end].strip()
        if before and value and mark.reason != "CONTENT":
            subject_before = subject if subject in before else ""
            yield mark.relation or mark.reason, ReferenceText(before, subject_before), value


def _evenly(parts: list[np.ndarray]) -> tuple[float, ...]:
    """Return at most ``MAX_SIGNALS`` of the finite values, evenly spaced."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return ()
    step = math.ceil(len(values) / MAX_SIGNALS)
    return tuple(float(value) for value in values[::step])
