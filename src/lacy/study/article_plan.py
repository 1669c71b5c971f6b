"""Plan a study on articles: which models continue them, under which conditions.

A recipe with the setting ``articles`` is read as an ``ArticleStudyPlan``. A method is either a
model as it is, or one that the study first tunes with ``lacy tune``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from lacy._convert import Problem, read_fields
from lacy.study.plan import digest
from lacy.types import DEFAULT_READ_UNTIL, ReadUntil, Unit


@dataclass
class ArticleStudyPlan:
    """Let models continue held-out articles under conditions, score the texts, and compare.

    Calls are answered by the articles themselves or by another source. Every condition of every
    model is one job. If the study is stopped, the same command continues it, and the tables contain
    the finished jobs.
    """

    articles: Path
    """Held-out articles: a file or folder, as in `lacy data mark`."""
    out: Path = Path("studies/articles")
    """The folder of the study."""
    only: str | None = None
    """Read only articles for which this field is true, for example is_biography."""
    people: int = 100
    """Number of articles that each model continues."""
    calibration: int = 100
    """Number of further articles that budgets and rankings are calibrated on (0: none)."""
    prompt_words: int = 16
    """Words of each article that are given; 0 for its title."""
    max_new_tokens: int = 64
    """Maximum number of generated tokens per text."""
    pipeline: str = "auto"
    """spaCy pipeline that finds names, numbers and dates in articles and texts."""
    model: str = "smollm2"
    """The model of all methods that name no other."""
    dtype: Literal["fp32", "bf16", "auto"] = "fp32"
    """Precision of the weights while texts are generated."""
    tune_on: Path | None = None
    """Articles that methods are tuned on; they must not contain the held-out ones."""
    methods: dict[str, Any] = field(default_factory=dict)
    """Name of a method -> model, conditions (names, all if not given), seeds, and tune: settings
    of `lacy tune` (depth, target, ...); without tune, the model is asked as it is."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """Name of a condition -> policy, source (values, documents, or a name as for --source), unit,
    max_new_tokens; or the policy alone."""
    seeds: tuple[int, ...] = (0,)
    """Random seeds of tuned methods."""
    call_rate: float = 0.22
    """Call rate at which the study's page compares."""
    compare: tuple[str, ...] = ()
    """Comparisons with a test, as in `row/gate - raw/random`."""
    metrics: tuple[str, ...] = ("entities_right", "right_per_text", "entity_recall")
    """Metrics of the comparisons."""

    def condition(self, name: str) -> ArticleCondition:
        """Return a condition by name."""
        values = read_fields(ArticleCondition, given_condition(self.conditions[name]), "", [])
        return ArticleCondition(**values)

    def words(self, condition: ArticleCondition) -> int | None:
        """Return how many words of an article are given under a condition; None for its title."""
        words = condition.prompt_words
        return (self.prompt_words if words is None else words) or None

    def method(self, name: str) -> ArticleMethod:
        """Return a method by name, with the plan's defaults filled in."""
        method = ArticleMethod(**read_fields(ArticleMethod, self.methods[name] or {}, "", []))
        seeds = (self.seeds[0],) if method.tune is None else method.seeds or self.seeds
        conditions = tuple(self.conditions) if method.conditions is None else method.conditions
        model = method.model or self.model
        return replace(method, model=model, seeds=seeds, conditions=conditions)

    def smoke(self) -> ArticleStudyPlan:
        """Return the plan with all methods and conditions, but so small that it takes minutes."""
        conditions = {n: {**asdict(self.condition(n)), "max_new_tokens": 8}
                      for n in self.conditions}  # fmt: skip
        return replace(
            self, people=3, calibration=min(self.calibration, 8), conditions=conditions,
            seeds=self.seeds[:1], out=self.out.with_name(self.out.name + "-smoke"),
        )  # fmt: skip


@dataclass(frozen=True)
class ArticleMethod:
    """How a model is made, and under which conditions it continues articles."""

    model: str | None = None
    """Name of the model, as in `lacy generate`."""
    tune: dict[str, Any] | None = None
    """Settings of `lacy tune`; None to ask the model as it is."""
    conditions: tuple[str, ...] | None = None
    """Names of its conditions."""
    seeds: tuple[int, ...] | None = None
    """Its random seeds."""


@dataclass(frozen=True)
class ArticleCondition:
    """How a model continues articles: policy, source and unit."""

    policy: str
    """When to call: a policy's text; ``oracle``, wherever the model itself would name something;
    ``embedding=RATE`` and ``position=RATE``, budgets by the controls of ``controls``."""
    source: str = "values"
    """What answers calls: ``values``, ``documents``, empty for none, or a name as for --source."""
    unit: Unit = "value"
    """How much one call returns."""
    max_new_tokens: int | None = None
    """Maximum length of a text; None for the plan's."""
    prompt_words: int | None = None
    """Words of each article that are given, 0 for its title; None for the plan's."""
    read_until: ReadUntil = DEFAULT_READ_UNTIL
    """How long the model has the source's sentences before its text, as in ``cascade.Engine``."""


@dataclass(frozen=True)
class ArticleRun:
    """One model of a study."""

    method: str
    seed: int
    settings: ArticleMethod
    key: str
    """Hash of everything that the model depends on."""

    @property
    def name(self) -> str:
        """A readable name, such as ``row.s0``."""
        return f"{self.method}.s{self.seed}"


def article_runs(plan: ArticleStudyPlan) -> list[ArticleRun]:
    """Return the models of a plan, seed by seed."""
    methods = {name: plan.method(name) for name in plan.methods}
    seeds = sorted({seed for method in methods.values() for seed in method.seeds or ()})
    return [
        ArticleRun(name, seed, method, _run_key(plan, method, seed))
        for seed in seeds
        for name, method in methods.items()
        if seed in (method.seeds or ())
    ]


def _run_key(plan: ArticleStudyPlan, method: ArticleMethod, seed: int) -> str:
    basis: list[Any] = [method.model, method.tune]
    if method.tune is not None:
        basis += [_identity(plan.tune_on), plan.only, seed]
    return digest(basis)


def _identity(path: Path | None) -> list[Any]:
    """Return the name and size of a file, which identify it in any folder."""
    size = path.stat().st_size if path is not None and path.is_file() else None
    return [path and path.name, size]


def article_condition_key(plan: ArticleStudyPlan, run: ArticleRun, name: str) -> str:
    """Return a hash of everything that the texts of a run under one condition depend on."""
    condition = asdict(plan.condition(name))
    condition["max_new_tokens"] = condition["max_new_tokens"] or plan.max_new_tokens
    condition["prompt_words"] = plan.words(plan.condition(name))
    return digest([run.key, articles_key(plan), condition])


def articles_key(plan: ArticleStudyPlan) -> str:
    """Return a hash of the articles that are continued, and of those to calibrate on."""
    settings = [plan.only, plan.people, plan.calibration, plan.pipeline, plan.dtype]
    return digest([_identity(plan.articles), *settings])


def given_condition(given: Any) -> dict[str, Any]:
    """Return the settings of a condition; a recipe gives a mapping or only a policy."""
    return dict(given) if isinstance(given, Mapping) else {"policy": given}


def article_problems(plan: ArticleStudyPlan) -> list[str]:
    """Return all problems of a plan, one sentence each."""
    problems = [f"{name} is empty" for name in ("methods", "conditions", "seeds")
                if not getattr(plan, name)]  # fmt: skip
    if plan.people < 1 or plan.max_new_tokens < 1:
        problems.append("people and max_new_tokens must be at least 1")
    problems += _entry_problems("conditions", plan.conditions, ArticleCondition)
    problems += _entry_problems("methods", plan.methods, ArticleMethod)
    if problems:
        return problems
    problems += [p for name in plan.conditions for p in _policy_problems(name, plan)]
    for name in plan.methods:
        method = plan.method(name)
        unknown = [c for c in method.conditions or () if c not in plan.conditions]
        problems += [
            f"methods.{name}.conditions names {c!r}, which is not a condition" for c in unknown
        ]
        if method.tune is not None and plan.tune_on is None:
            problems.append(f"methods.{name}.tune needs tune_on, the articles to tune on")
    return problems + _comparison_problems(plan)


def _entry_problems(group: str, entries: Mapping[str, Any], cls: type) -> list[str]:
    """Check the names and settings of conditions or methods."""
    problems: list[Problem] = []
    sentences = []
    for name, given in entries.items():
        if not name or any(character in name for character in "/ @."):
            sentences.append(f"{group}.{name}: a name has no blank and none of / @ .")
        values = given_condition(given) if cls is ArticleCondition else given or {}
        if not isinstance(values, Mapping):
            sentences.append(f"{group}.{name} is {values!r}, expected `key: value` lines")
            continue
        read = read_fields(cls, values, f"{group}.{name}.", problems)
        required = {f.name for f in fields(cls) if f.name == "policy"}
        sentences += [f"{group}.{name}.{key} is not given" for key in required - set(read)]
    return sentences + [
        f"{p.key} is {p.value!r}, expected {p.expected}"
        if p.expected
        else f"unknown {p.key}{p.hint}"
        for p in problems
    ]


def _policy_problems(name: str, plan: ArticleStudyPlan) -> list[str]:
    from lacy.cascade import parse_policy
    from lacy.errors import LacyError
    from lacy.evaluate import oracle_rate
    from lacy.study.controls import control_of

    policy = plan.condition(name).policy
    try:
        if oracle_rate(policy) is None and control_of(policy) is None:
            parse_policy(policy)
    except LacyError as error:
        return [f"conditions.{name}.policy: {str(error).splitlines()[0]}"]
    return []


def _comparison_problems(plan: ArticleStudyPlan) -> list[str]:
    from lacy.results import RATIOS
    from lacy.study.plan import comparison_sides

    sentences = [f"metrics names {name!r}, choose from {', '.join(RATIOS)}"
                 for name in plan.metrics if name not in RATIOS]  # fmt: skip
    for text in plan.compare:
        for side in comparison_sides(text):
            method, _, condition = side.partition("/")
            if method not in plan.methods or condition not in (
                plan.method(method).conditions or ()
            ):
                sentences.append(f"compare: {text!r} names {side!r}, which is not in this study")
    return sentences
