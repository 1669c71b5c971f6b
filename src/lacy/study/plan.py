"""What a study compares, as a value: arms x seeds x sizes, and the ways each model is asked.

A recipe is read into a ``StudyPlan``; ``cells`` spells it out into single training runs. Every cell
and every way has a key, a hash of all that its result depends on, so that a study that goes on
trains and asks only what is new, and nothing that changed is mistaken for what was. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lacy._convert import Nested, Problem, fields_from
from lacy.config import load
from lacy.errors import LacyError
from lacy.train.config import TrainConfig
from lacy.types import Unit

Equal = Literal["steps", "text_tokens"]
"""What an arm has in common with the plain one: forward steps, or tokens whose text it is taught
(then an arm that delegates trains for more steps). The two are never mixed in a table."""

Cue = Literal["gold", "bundled", "rules", "none"]
"""Who marks the facts of the training texts: the world itself, the bundled spaCy pipeline with its
rules, the rules alone, nobody."""

OURS = ("ways", "cue", "reference", "equal", "seeds")
"""Settings of an arm that are the study's and not the training's."""

FIXED = ("out", "data", "seed", "reference", "quiet", "dry_run", "trackers")
"""Settings of a training run that the study gives."""


@dataclass
class WorldPlan:
    """The made-up world of a study; each seed has one of its own."""

    people: int = 200
    """How many people live in it."""
    prose: float = 0.0
    """Mean number of further sentences without a fact in a biography."""
    texts: int = 27
    """Training texts per person."""
    vocabulary: int = 2048
    """Of the tokenizer."""
    context: int = 256
    """Tokens per row."""
    calibration: int = 100
    """Training texts that a model reads once more before it is asked (0: none)."""


@dataclass(frozen=True)
class Way:
    """One way of asking a model."""

    policy: str
    """When to call: a policy's text, or ``oracle`` (wherever a value is due)."""
    source: str = "database"
    """Who answers: ``database``, ``truth`` (knows what is due), both with options as in
    ``database:errors=0.1``; ``documents``, an index of the training texts; ``@ARM``, the model of
    another arm; empty for nobody."""
    unit: Unit = "value"
    """How much one call returns."""
    heal: bool = False
    """Encode the seam anew."""
    max_new_tokens: int = 192
    """Of an answer."""


@dataclass
class Advantage:
    """Against what the recovered share (cascade - alone) / (partner - alone) is measured."""

    alone: str = "plain/alone"
    """ARM/WAY that nobody helps."""
    partner: str = "plain/oracle"
    """ARM/WAY with all the help there is."""


@dataclass
class StudyPlan:
    """Trains arms x seeds x sizes, asks every model in several ways, and compares.

    All cells of a seed share world, tokenizer and texts. The same command continues a study that
    was stopped; what is finished is never repeated.
    """

    out: Path = Path("studies/study")
    """The folder of the study."""
    runs: Path | None = None
    """Where texts and training runs are kept, if not in OUT: studies that give the same folder
    share the runs that they have in common."""
    world: WorldPlan = field(default_factory=WorldPlan)
    """The made-up world."""
    train: dict[str, Any] = field(default_factory=dict)
    """Training settings of all cells (see `lacy config train`)."""
    sizes: dict[str, Any] = field(default_factory=lambda: {"demo": {"model": "demo"}})
    """Name of a size -> training settings."""
    arms: dict[str, Any] = field(default_factory=dict)
    """Name of an arm -> training settings, and of the study: ways (names, all if not given), cue
    (gold, bundled, rules, none), reference (@ARM), equal (steps, text_tokens), seeds."""
    ways: dict[str, Any] = field(default_factory=dict)
    """Name of a way -> policy, source, unit, heal, max_new_tokens; or the policy alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of worlds, weights and order."""
    equal: tuple[Equal, ...] = ("steps",)
    """What the arms have in common with the plain one."""
    ask: int = 100
    """How many people each model is asked about."""
    call_rate: float = 0.22
    """Where precision and recall of the calls are read (paper §5.1)."""
    advantage: Advantage = field(default_factory=Advantage)
    """Of the recovered share."""
    compare: tuple[str, ...] = ()
    """Comparisons with a test, as in `lacy/argmax - plain/random`."""
    metrics: tuple[str, ...] = ("facts_right", "f1")
    """What is compared."""

    def check(self) -> None:
        """Raise one error for everything that is wrong with the plan.

        Raises:
            LacyError: E85.
        """
        found = _problems(self)
        if found:
            listed = "".join(f"\n  - {sentence}" for sentence in found)
            raise LacyError("E85", count=len(found), problems=listed)

    @property
    def kept(self) -> Path:
        """The folder of texts and training runs."""
        return self.runs or self.out

    def way(self, name: str) -> Way:
        """A way by name."""
        return _way(self.ways[name])

    def smoke(self) -> StudyPlan:
        """The same plan with every arm and way, made so small that it takes seconds."""
        tiny = {"steps": 6, "batch_rows": 2, "model": "tiny"}
        small = replace(self.world, people=16, texts=2, vocabulary=512, calibration=8)
        first = next(iter(self.sizes))
        return replace(
            self, world=small, sizes={first: {}}, train={**self.train, **tiny}, ask=3,
            seeds=self.seeds[:1], out=self.out.with_name(self.out.name + "-smoke"), runs=None,
            arms={a: {k: v for k, v in _settings(s).items() if k not in ("seeds", *tiny)}
                  for a, s in self.arms.items()},
            ways={n: {**asdict(self.way(n)), "max_new_tokens": 24} for n in self.ways},
        )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training run of a study."""

    size: str
    arm: str
    equal: Equal
    seed: int
    settings: Mapping[str, Any]
    """For ``TrainConfig``; without data, folder, seed and reference."""
    cue: Cue
    reference: str | None
    """Arm whose model ranks the tokens."""
    ways: tuple[str, ...]
    key: str = ""

    @property
    def name(self) -> str:
        """What people call it: ``demo.lacy.steps.s0``."""
        return f"{self.size}.{self.arm}.{self.equal}.s{self.seed}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.name}.{self.key}"


def read_plan(path: str | Path) -> StudyPlan:
    """Reads and checks a recipe.

    Raises:
        LacyError: as ``config.load``, and E85 for a plan that contradicts itself.
    """
    plan = load(StudyPlan, path, verb="study")
    plan.check()
    return plan


def cells(plan: StudyPlan) -> list[Cell]:
    """All training runs of a plan: seeds outermost, so that a whole comparison is done early."""
    found: dict[tuple[str, str, str, int], Cell] = {}
    every = sorted({s for a in plan.arms.values() for s in _settings(a).get("seeds", plan.seeds)})
    for seed in every:
        for size, sized in plan.sizes.items():
            for arm in _in_order(plan.arms):
                for equal in ("steps", "text_tokens"):
                    cell = _cell(plan, seed, size, sized, arm, equal)
                    if cell is None:
                        continue
                    basis: list[Any] = [
                        asdict(plan.world), seed, cell.cue, cell.settings, cell.equal
                    ]  # fmt: skip
                    if cell.reference is not None:
                        basis.append(found[size, cell.reference, "steps", seed].key)
                    found[size, arm, equal, seed] = replace(cell, key=digest(basis))
    return list(found.values())


def digest(value: Any) -> str:
    """A short hash of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def way_key(plan: StudyPlan, cell: Cell, name: str, source_key: str = "") -> str:
    """A hash of all that the answers of a cell in one way depend on."""
    return digest([cell.key, asdict(plan.way(name)), plan.ask, source_key])


def partner_of(way: Way) -> str | None:
    """The arm whose model answers in this way, if one does."""
    return way.source[1:] if way.source.startswith("@") else None


def _cell(
    plan: StudyPlan, seed: int, size: str, sized: Mapping[str, Any], arm: str, equal: Equal
) -> Cell | None:
    """One cell without its key; None where the plan does not ask for it."""
    given = _settings(plan.arms[arm])
    merged = {**plan.train, **(sized or {}), **given}
    settings = {key: value for key, value in merged.items() if key not in (*OURS, *FIXED)}
    settings = fields_from(TrainConfig, settings, "", [])  # 6e-3 is text in YAML 1.1
    plain = settings.get("arm", TrainConfig.arm) == "none"
    wanted = given.get("equal", ["steps"] if plain else plan.equal)
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if equal not in wanted or seed not in given.get("seeds", plan.seeds):
        return None
    return Cell(
        size, arm, equal, seed, settings, given.get("cue", "gold"), _reference(given),
        tuple(given.get("ways", plan.ways)),
    )  # fmt: skip


def _settings(arm: Any) -> dict[str, Any]:
    return dict(arm) if isinstance(arm, Mapping) else {}


def _reference(arm: Mapping[str, Any]) -> str | None:
    named = arm.get("reference")
    return str(named).removeprefix("@") if named is not None else None


def _in_order(arms: Mapping[str, Any]) -> list[str]:
    """Arms whose model ranks another's tokens come before it."""
    ordered: list[str] = []
    for name in sorted(arms, key=lambda name: _reference(_settings(arms[name])) is not None):
        ordered.append(name)
    return ordered


def _way(given: Any) -> Way:
    return Way(policy=given) if isinstance(given, str) else Way(**_settings(given))


# --------------------------------------------------------------------------------- checking


def _problems(plan: StudyPlan) -> list[str]:
    """What is wrong with a plan, each a sentence."""
    found = [f"{name} is empty" for name in ("arms", "ways", "sizes", "seeds")
             if not getattr(plan, name)]  # fmt: skip
    if not 0.0 <= plan.call_rate <= 1.0:
        found.append(f"call_rate is {plan.call_rate}, it is a share between 0 and 1")
    if plan.ask < 1 or plan.world.texts < 1:
        found.append("ask and world.texts are at least 1")
    found += _training_problems("train", plan.train, ours=())
    for name, settings in plan.sizes.items():
        found += _training_problems(f"sizes.{name}", settings or {}, ours=())
    for name, settings in plan.arms.items():
        found += _arm_problems(plan, name, settings or {})
    for name in plan.ways:
        found += _way_problems(plan, name)
    found += _comparison_problems(plan)
    return found


def _training_problems(where: str, settings: Any, ours: Iterable[str]) -> list[str]:
    """Keys and values that no training run takes."""
    if not isinstance(settings, Mapping):
        return [f"{where} is {settings!r}, not `key: value` lines"]
    found = [f"{where}.{key} is given by the study itself" for key in settings
             if key in FIXED and key not in ours]  # fmt: skip
    rest = {key: value for key, value in settings.items() if key not in (*ours, *FIXED)}
    problems: list[Problem] = []
    values = fields_from(TrainConfig, rest, f"{where}.", problems)
    for problem in problems:
        what = f"{problem.value!r}, expected {problem.expected}" if problem.expected else ""
        found.append(f"{problem.key} is {what}" if what else f"unknown {problem.key}{problem.hint}")
    if not problems and not any(isinstance(value, Nested) for value in values.values()):
        config = TrainConfig(**{**values, "data": Path("data"), "reference": Path("reference")})
        found += [f"{where}: {sentence}" for sentence in config.problems()]
    return found


def _arm_problems(plan: StudyPlan, name: str, settings: Any) -> list[str]:
    where = f"arms.{name}"
    found = _training_problems(where, settings, OURS)
    if not isinstance(settings, Mapping):
        return found
    if any(character in name for character in "/ @.") or not name:
        found.append(f"{where}: a name has no blank and none of / @ .")
    found += [f"{where}.ways names {way!r}, which is no way" for way in settings.get("ways", ())
              if way not in plan.ways]  # fmt: skip
    if settings.get("cue", "gold") not in Cue.__args__:  # type: ignore[attr-defined]
        found.append(f"{where}.cue is {settings['cue']!r}, not one of gold, bundled, rules, none")
    reference = _reference(settings)
    if reference is not None and (reference not in plan.arms or reference == name):
        found.append(f"{where}.reference is {reference!r}, not the name of another arm")
    elif reference is not None:
        other = _settings(plan.arms[reference])
        if _reference(other) is not None or other.get("equal", "steps") not in ("steps", ["steps"]):
            found.append(f"{where}.reference: {reference} has a reference or an equal of its own")
        if set(settings.get("seeds", plan.seeds)) - set(other.get("seeds", plan.seeds)):
            found.append(f"{where}.reference: {reference} lacks some of its seeds")
    return found


def _way_problems(plan: StudyPlan, name: str) -> list[str]:
    from lacy.cascade.parsing import parse_policy
    from lacy.study.partners import parse_source

    where = f"ways.{name}"
    try:
        way = plan.way(name)
        if way.policy != "oracle":
            parse_policy(way.policy)
        partner = partner_of(way)
        if partner is None:
            parse_source(way.source)
        elif partner not in plan.arms:
            return [f"{where}.source names the arm {partner!r}, which does not exist"]
    except TypeError as error:
        return [f"{where}: {str(error).partition('() ')[2]}"]
    except (LacyError, ValueError) as error:
        return [f"{where}: {str(error).splitlines()[0]}"]
    return []


def _comparison_problems(plan: StudyPlan) -> list[str]:
    found = []
    named = [(f"compare: {text!r}", side) for text in plan.compare for side in sides(text)]
    named += [("advantage", plan.advantage.alone), ("advantage", plan.advantage.partner)]
    for where, side in named:
        arm, _, way = side.partition("/")
        if arm not in plan.arms or way not in _settings(plan.arms[arm]).get("ways", plan.ways):
            found.append(f"{where} names {side!r}, which is no ARM/WAY of this study")
    return found


def sides(comparison: str) -> tuple[str, str]:
    """The two sides of ``a/x - b/y``."""
    a, _, b = comparison.partition(" - ")
    return a.strip(), b.strip()


def needs(plan: StudyPlan, arms: Iterable[str]) -> set[str]:
    """These arms, those whose models they need, and those the recovered share is held against."""
    sought = {*arms, *(s.partition("/")[0] for s in vars(plan.advantage).values())}
    kept: set[str] = set()
    while sought:
        name = sought.pop()
        kept.add(name)
        arm = _settings(plan.arms[name])
        found = {_reference(arm)} | {
            partner_of(plan.way(way)) for way in arm.get("ways", plan.ways)
        }
        sought |= {other for other in found if other is not None} - kept
    return kept
