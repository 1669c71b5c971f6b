"""The plan of a study: methods x seeds x sizes, and the conditions under which models are asked.

A recipe is read into a ``StudyPlan``; ``planned_runs`` expands it into single training runs. Every
run and every condition has a key, which is a hash of everything that its result depends on. So a
resumed study trains and asks only what is new, and a changed recipe never reuses an old result.
This module does not import torch, so a plan is checked quickly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from lacy._convert import Problem, read_fields
from lacy.train import TrainConfig
from lacy.types import Unit

Equal = Literal["steps", "text_tokens"]
"""What a method has in common with the plain one: the number of training steps, or of targets that
are text (then a method that delegates trains for more steps). A table never mixes the two."""

Cue = Literal["gold", "bundled", "rules", "none"]
"""Who marks the facts in the training texts: the world itself (gold), the bundled spaCy pipeline
with its rules (bundled), the rules alone (rules), or nobody (none)."""

SET_BY_STUDY = ("out", "data", "seed", "reference", "quiet", "dry_run", "trackers")
"""Training settings that the study sets itself."""


@dataclass
class WorldPlan:
    """The made-up world of a study; each seed has its own."""

    people: int = 200
    """Number of people."""
    prose: float = 0.0
    """Mean number of sentences without a fact in a biography."""
    texts: int = 27
    """Training texts per person."""
    vocabulary: int = 2048
    """Size of the tokenizer's vocabulary."""
    context: int = 256
    """Tokens per row."""
    calibration: int = 100
    """Number of training texts to calibrate each model on (0: none)."""


@dataclass(frozen=True)
class MethodPlan:
    """The settings of a method that are not training settings; None means the plan's value."""

    conditions: tuple[str, ...] | None = None
    """Names of the conditions under which its models are asked."""
    cue: Cue = "gold"
    """Who marks the facts in its training texts."""
    reference: str | None = None
    """The method whose model is the reference model that ranks its tokens."""
    equal: Equal | tuple[Equal, ...] | None = None
    """What it has in common with the plain method."""
    seeds: tuple[int, ...] | None = None
    """Its random seeds."""


STUDY_SETTINGS = tuple(field.name for field in fields(MethodPlan))
"""Settings of a method that belong to the study and not to training."""


@dataclass(frozen=True)
class Condition:
    """How a model is asked: policy, source and unit."""

    policy: str
    """When to call: a policy's text, or ``oracle`` (wherever a value is due)."""
    source: str = "database"
    """What answers calls: ``database``, ``truth`` (knows what is due), both with options as in
    ``database:errors=0.1``; ``documents``, an index of the training texts; ``@METHOD``, the model
    of another method; empty for none."""
    unit: Unit = "value"
    """How much one call returns."""
    max_new_tokens: int = 192
    """Maximum length of an answer."""


@dataclass
class Advantage:
    """The baselines of the recovered share (cascade - alone) / (partner - alone).

    A study without the default method and conditions has no such share.
    """

    alone: str = "plain/alone"
    """METHOD/CONDITION without a source."""
    partner: str = "plain/oracle"
    """METHOD/CONDITION with a perfect source and perfect calls."""


@dataclass
class StudyPlan:
    """Train methods x seeds x sizes, evaluate every model under conditions, and compare.

    All runs of a seed share world, tokenizer and texts. The same command continues a stopped study;
    finished runs are never repeated.
    """

    out: Path = Path("studies/study")
    """The folder of the study."""
    runs: Path | None = None
    """Folder of texts and training runs, if not OUT; studies with the same folder share the runs
    that they have in common."""
    world: WorldPlan = field(default_factory=WorldPlan)
    """The made-up world."""
    train: dict[str, Any] = field(default_factory=dict)
    """Training settings of all runs (see `lacy help config train`)."""
    sizes: dict[str, Any] = field(default_factory=lambda: {"demo": {"model": "demo"}})
    """Name of a size -> training settings."""
    methods: dict[str, Any] = field(default_factory=dict)
    """Name of a method -> training settings, and of the study: conditions (names, all if not
    given), cue (gold, bundled, rules, none), reference (@METHOD), equal (steps, text_tokens),
    seeds."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """Name of a condition -> policy, source, unit, max_new_tokens; or the policy alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Random seeds of worlds, weights and data order."""
    equal: tuple[Equal, ...] = ("steps",)
    """What the methods have in common with the plain one."""
    ask: int = 100
    """Number of people that each model is asked about."""
    call_rate: float = 0.22
    """Call rate at which call precision and recall are measured (paper §5.1)."""
    advantage: Advantage = field(default_factory=Advantage)
    """Baselines of the recovered share."""
    compare: tuple[str, ...] = ()
    """Comparisons with a test, as in `lacy/argmax - plain/random`."""
    metrics: tuple[str, ...] = ("facts_right", "f1")
    """Metrics of the comparisons."""

    @property
    def run_root(self) -> Path:
        """Folder of texts and training runs."""
        return self.runs or self.out

    def condition(self, name: str) -> Condition:
        """Return a condition by name."""
        return Condition(**condition_values(self.conditions[name], "", []))

    def method(self, name: str) -> MethodPlan:
        """Return a method by name, with the plan's defaults filled in."""
        return method_of(self, name, [])

    def smoke(self) -> StudyPlan:
        """Return the plan with all methods and conditions, but so small that it takes seconds."""
        tiny = {"steps": 4, "batch_rows": 2, "model": "tiny"}
        small = replace(self.world, people=16, texts=2, vocabulary=512, calibration=8)
        first = next(iter(self.sizes))
        return replace(
            self, world=small, sizes={first: {}}, train={**self.train, **tiny}, ask=3,
            seeds=self.seeds[:1], out=self.out.with_name(self.out.name + "-smoke"), runs=None,
            methods={a: {k: v for k, v in method_settings(s).items() if k not in ("seeds", *tiny)}
                  for a, s in self.methods.items()},
            conditions={name: {**asdict(self.condition(name)), "max_new_tokens": 12}
                        for name in self.conditions},
        )  # fmt: skip


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a study."""

    size: str
    method: str
    equal: Equal
    seed: int
    settings: Mapping[str, Any]
    """Arguments of ``TrainConfig``, without data, folder, seed and reference."""
    cue: Cue
    reference: str | None
    """The method whose model is the reference model."""
    conditions: tuple[str, ...]
    key: str = ""

    @property
    def name(self) -> str:
        """A readable name, such as ``demo.lacy.steps.s0``."""
        return f"{self.size}.{self.method}.{self.equal}.s{self.seed}"

    @property
    def folder(self) -> str:
        """Name of the run's folder: its readable name and its key."""
        return f"{self.name}.{self.key}"


def planned_runs(plan: StudyPlan) -> list[PlannedRun]:
    """Return all training runs, seed by seed, so that a full comparison is done early."""
    runs: dict[tuple[str, str, str, int], PlannedRun] = {}
    methods = {name: plan.method(name) for name in plan.methods}
    # A reference model must be trained first, as its key is part of the key of the other run.
    ordered = sorted(methods, key=lambda name: methods[name].reference is not None)
    all_seeds = sorted({seed for method in methods.values() for seed in method.seeds or ()})
    for seed in all_seeds:
        for size, size_settings in plan.sizes.items():
            for method in ordered:
                for equal in ("steps", "text_tokens"):
                    run = _planned_run(plan, seed, size, size_settings, method, equal)
                    if run is None:
                        continue
                    basis = [asdict(plan.world), seed, run.cue, _with_defaults(run.settings), equal]
                    if run.reference is not None:
                        basis.append(runs[size, run.reference, "steps", seed].key)
                    runs[size, method, equal, seed] = replace(run, key=digest(basis))
    return list(runs.values())


def digest(value: Any) -> str:
    """Return a short hash of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def condition_key(plan: StudyPlan, run: PlannedRun, name: str, source_key: str = "") -> str:
    """Return a hash of everything that a run's answers under one condition depend on."""
    return digest([run.key, asdict(plan.condition(name)), plan.ask, source_key])


def partner_of(condition: Condition) -> str | None:
    """Return the method whose model is the source of a condition; None for other sources."""
    return condition.source[1:] if condition.source.startswith("@") else None


def _planned_run(
    plan: StudyPlan, seed: int, size: str, size_settings: Mapping[str, Any], name: str, equal: Equal
) -> PlannedRun | None:
    """Return one run, still without its key, or None if the plan does not contain it."""
    method = plan.method(name)
    merged = {**plan.train, **(size_settings or {}), **method_settings(plan.methods[name])}
    given = {
        key: value for key, value in merged.items() if key not in (*STUDY_SETTINGS, *SET_BY_STUDY)
    }
    settings = read_fields(TrainConfig, given, "", [])  # YAML 1.1 reads 6e-3 as text
    plain = settings.get("method", TrainConfig.method) == "none"
    equal_rules = method.equal or (("steps",) if plain else plan.equal)
    if equal not in ([equal_rules] if isinstance(equal_rules, str) else equal_rules):
        return None
    if seed not in (method.seeds or ()):
        return None
    return PlannedRun(
        size, name, equal, seed, settings, method.cue, method.reference, method.conditions or ()
    )


def _with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults to training settings, so that a changed default changes the key."""
    whole = asdict(TrainConfig(**settings))
    return {key: value for key, value in whole.items() if key not in SET_BY_STUDY}


def method_settings(method: Any) -> dict[str, Any]:
    """Return the settings of a method in a recipe; empty if it has none."""
    return dict(method) if isinstance(method, Mapping) else {}


def method_of(plan: StudyPlan, name: str, problems: list[Problem]) -> MethodPlan:
    """Return the study's settings of a method; invalid values are added to ``problems``."""
    given = {
        key: value
        for key, value in method_settings(plan.methods[name]).items()
        if key in STUDY_SETTINGS
    }
    method = MethodPlan(**read_fields(MethodPlan, given, f"methods.{name}.", problems))
    reference = method.reference.removeprefix("@") if method.reference is not None else None
    conditions = tuple(plan.conditions) if method.conditions is None else method.conditions
    seeds = plan.seeds if method.seeds is None else method.seeds
    return replace(method, reference=reference, conditions=conditions, seeds=seeds)


def condition_values(given: Any, prefix: str, problems: list[Problem]) -> dict[str, Any]:
    """Return the arguments of a ``Condition``; a recipe gives a mapping or only a policy."""
    values = given if isinstance(given, Mapping) else {"policy": given}
    return read_fields(Condition, values, prefix, problems)


def comparison_sides(comparison: str) -> tuple[str, str]:
    """Return the two sides of ``a/x - b/y``."""
    a, _, b = comparison.partition(" - ")
    return a.strip(), b.strip()


def required_methods(plan: StudyPlan, names: Iterable[str]) -> set[str]:
    """Return these methods, those whose models they need, and the baselines of ``recovered``."""
    baselines = {side.partition("/")[0] for side in vars(plan.advantage).values()}
    to_visit = {*names, *(baselines & set(plan.methods))}
    needed: set[str] = set()
    while to_visit:
        name = to_visit.pop()
        needed.add(name)
        method = plan.method(name)
        others = {method.reference} | {
            partner_of(plan.condition(condition)) for condition in method.conditions or ()
        }
        to_visit |= {other for other in others if other is not None} - needed
    return needed
