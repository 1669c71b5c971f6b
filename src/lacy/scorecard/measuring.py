"""Run the sections of a scorecard, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lacy.disk import lock
from lacy.errors import LacyError
from lacy.results import AnswerStore, Measurement, answer_key
from lacy.scorecard.card import (
    ANSWERS_FOLDER,
    Scorecard,
    SectionResult,
    read_section,
    write_scorecard,
    write_section,
)

LOG = logging.getLogger("lacy.scorecard")

Notify = Callable[[str], object]

SECONDS = 20.0
"""Time between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Section:
    """One question about a model, and how to measure it."""

    name: str
    title: str
    question: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything besides the model that the results depend on, as plain data."""
    measure: Callable[[AnswerStore], Measurement] | None = None
    """Measures it; keeps answers in the store. None if something is missing."""
    missing: str = ""
    """What to give so that it can be measured."""
    extra: str = ""
    """The optional extra that it needs."""


class _Progress:
    """Says from time to time how many answers a section has."""

    def __init__(self, where: str, notify: Notify) -> None:
        self._where, self._notify, self._last = where, notify, time.monotonic()

    def __call__(self, number: int) -> None:
        if time.monotonic() - self._last >= SECONDS:
            self._last = time.monotonic()
            self._notify(f"{self._where}: {number} answers")


def _for_the_user(caught: LacyError | ModuleNotFoundError, section: Section) -> LacyError:
    """Return the error to report: E11 for a missing package of the section's extra."""
    if isinstance(caught, LacyError):
        return caught
    if not section.extra or (caught.name or "").startswith("lacy"):
        raise caught
    return LacyError("E11", extra_for=section.title, package=caught.name, extra=section.extra)


def weights_of(loaded: Any) -> str:
    """Return a fingerprint of a model's weights, its ``<CALL>`` row and its kind of gate."""
    from lacy.model import gate_of, model_fingerprint

    row = loaded.model.get_output_embeddings().weight[-1].detach().float().cpu().numpy()
    gate = f"{loaded.calls} {gate_of(loaded.model)}"
    digest = hashlib.sha256(row.tobytes() + gate.encode()).hexdigest()[:8]
    return f"{model_fingerprint(loaded.model)}-{digest}"


def measure_sections(
    loaded: Any,
    sections: Sequence[Section],
    out: str | Path,
    *,
    notify: Notify = LOG.info,
    on_section: Callable[[SectionResult], object] = lambda _: None,
) -> Scorecard:
    """Measure a model and write its scorecard.

    A section whose results are in ``out`` for this model, these settings and this version of lacy
    is not measured again. If a section ends with an error, the others are measured all the same.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        sections: what to measure (``scorecard_sections``).
        out: the folder of the scorecard.
        notify: receives a sentence about each step.
        on_section: receives the result of each section.

    Raises:
        LacyError: E150, another process writes to ``out``; E19, the disk is full or failing.
    """
    from lacy.run import environment

    out = Path(out)
    weights = weights_of(loaded)
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    machine = {**environment(), "dtype": dtype}
    done: list[SectionResult] = []
    with lock(out):
        for number, section in enumerate(sections, 1):
            where = f"{number} of {len(sections)}: {section.title}"
            result = _section(section, out, [weights, dtype, machine["lacy"]], where, notify)
            done.append(result)
            on_section(result)
        name = Path(loaded.name or str(loaded.path or "")).name  # no folders of this machine
        card = Scorecard(name, weights, tuple(done), machine)
        write_scorecard(out, card)
    return card


def _section(
    section: Section, out: Path, identity: list[Any], where: str, notify: Notify
) -> SectionResult:
    """Return the result of a section: the stored one, or a new one."""
    plain = SectionResult(section.name, section.title, section.question)
    if section.measure is None:
        notify(f"{where}: left out ({section.missing})")
        return replace(plain, skipped=section.missing)
    key = answer_key(*identity, section.name, dict(section.settings))
    try:
        stored = read_section(out, section.name)
    except LacyError as error:
        notify(f"{error}\nThe section is measured again.")
        stored = None
    if stored is not None and stored.key == key:
        notify(f"{where}: measured already")
        return stored
    notify(f"{where} ...")
    begin = time.perf_counter()
    path = out / ANSWERS_FOLDER / f"{section.name}-{key[:12]}.jsonl"
    try:
        with AnswerStore(path, on_put=_Progress(where, notify)) as answers:
            measured = section.measure(answers)
            results = tuple(measured.results())
            units = tuple(getattr(measured, "units", list)())
    except (LacyError, ModuleNotFoundError) as caught:
        problem = _for_the_user(caught, section)
        if problem.code in ("E19", "E150"):  # the folder itself is the problem
            raise problem from caught
        notify(f"{where}: {problem}")
        return replace(plain, failed=str(problem))
    seconds = time.perf_counter() - begin
    result = replace(
        plain, key=key, settings=dict(section.settings), results=results, units=units,
        seconds=round(seconds, 1),
    )  # fmt: skip
    write_section(out, result)
    return result
