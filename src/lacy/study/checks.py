"""Check a study's plan before training and report all problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy._convert import Nested, Problem, read_fields
from lacy.config import load, read_yaml
from lacy.errors import LacyError
from lacy.results import RATIOS
from lacy.study.article_plan import ArticleStudyPlan, article_problems
from lacy.study.plan import (
    SET_BY_STUDY,
    STUDY_SETTINGS,
    Advantage,
    Condition,
    MethodPlan,
    StudyPlan,
    comparison_sides,
    condition_values,
    method_of,
    method_settings,
    partner_of,
)
from lacy.study.sources import parse_source
from lacy.train import TrainConfig


def read_plan(path: str | Path) -> StudyPlan | ArticleStudyPlan:
    """Read and check a recipe; one with the setting ``articles`` is a study on articles.

    Raises:
        LacyError: for the same reasons as ``config.load``; E85 for a plan that contradicts itself.
    """
    plan: StudyPlan | ArticleStudyPlan
    if "articles" in read_yaml(path)[0]:
        plan = load(ArticleStudyPlan, path, command="study")
    else:
        plan = load(StudyPlan, path, command="study")
    check_plan(plan)
    return plan


def check_plan(plan: StudyPlan | ArticleStudyPlan) -> None:
    """Raise one error that lists all problems of a plan.

    Raises:
        LacyError: E85 if there are any.
    """
    problems = problems_of(plan) if isinstance(plan, StudyPlan) else article_problems(plan)
    if problems:
        listed = "".join(f"\n  - {sentence}" for sentence in problems)
        raise LacyError("E85", count=len(problems), problems=listed)


def problems_of(plan: StudyPlan) -> list[str]:
    """Return all problems of a plan, one sentence each."""
    problems = [f"{name} is empty" for name in ("methods", "conditions", "sizes", "seeds")
             if not getattr(plan, name)]  # fmt: skip
    if not 0.0 <= plan.call_rate <= 1.0:
        problems.append(f"call_rate is {plan.call_rate}, it is a share between 0 and 1")
    if plan.ask < 1 or plan.world.texts < 1:
        problems.append("ask and world.texts are at least 1")
    if plan.world.people < 10:
        problems.append(f"world.people is {plan.world.people}, it is at least 10")
    problems += _training_problems("train", plan.train, ours=())
    for name, settings in plan.sizes.items():
        problems += _name_problems(f"sizes.{name}", name) + _training_problems(
            f"sizes.{name}", settings or {}, ours=()
        )
    methods = {name: _checked_method(plan, name, problems) for name in plan.methods}
    for name in plan.conditions:
        problems += _condition_problems(plan, methods, name)
    for name in plan.methods:
        problems += _missing_models(plan, methods, name)
    return problems + _comparison_problems(plan, methods)


def _name_problems(where: str, name: str) -> list[str]:
    """Check a name; names become parts of file names and of METHOD/CONDITION."""
    bad = any(character in name for character in "/ @.") or not name
    return [f"{where}: a name has no blank and none of / @ ."] if bad else []


def _sentences(problems: Sequence[Problem]) -> list[str]:
    """Return one sentence per problem of a value."""
    return [
        f"{problem.key} is {problem.value!r}, expected {problem.expected}"
        if problem.expected
        else f"unknown {problem.key}{problem.hint}"
        for problem in problems
    ]


def _training_problems(where: str, settings: Any, ours: Iterable[str]) -> list[str]:
    """Return the problems of training settings; ``ours`` are keys that belong to the study."""
    if not isinstance(settings, Mapping):
        return [f"{where} is {settings!r}, not `key: value` lines"]
    sentences = [f"{where}.{key} is given by the study itself" for key in settings
             if key in SET_BY_STUDY and key not in ours]  # fmt: skip
    rest = {key: value for key, value in settings.items() if key not in (*ours, *SET_BY_STUDY)}
    problems: list[Problem] = []
    values = read_fields(TrainConfig, rest, f"{where}.", problems)
    sentences += _sentences(problems)
    if not problems and not any(isinstance(value, Nested) for value in values.values()):
        # Paths do not exist yet; any will do for the checks of the other settings.
        config = TrainConfig(**{**values, "data": Path("data"), "reference": Path("reference")})
        sentences += [f"{where}: {sentence}" for sentence in config.problems()]
    return sentences


def _checked_method(plan: StudyPlan, name: str, sentences: list[str]) -> MethodPlan:
    """Return the study's settings of a method, and add its problems to ``sentences``."""
    problems: list[Problem] = []
    method = method_of(plan, name, problems)
    sentences += _name_problems(f"methods.{name}", name)
    sentences += _training_problems(f"methods.{name}", plan.methods[name] or {}, STUDY_SETTINGS)
    sentences += _sentences(problems)
    for given in method.conditions or ():
        if given not in plan.conditions:
            sentences.append(f"methods.{name}.conditions names {given!r}, which is no condition")
    return method


def _condition_problems(plan: StudyPlan, methods: Mapping[str, MethodPlan], name: str) -> list[str]:
    from lacy.cascade import parse_policy

    where = f"conditions.{name}"
    problems: list[Problem] = []
    values = condition_values(plan.conditions[name], f"{where}.", problems)
    sentences = _name_problems(where, name) + _sentences(problems)
    if sentences or "policy" not in values:
        return sentences or [f"{where}.policy is not given"]
    condition = Condition(**values)
    try:
        if condition.policy != "oracle":
            parse_policy(condition.policy)
        partner = partner_of(condition)
        if partner is None:
            parse_source(condition.source)
        elif partner not in methods:
            return [f"{where}.source names the method {partner!r}, which does not exist"]
    except (LacyError, ValueError) as error:
        return [f"{where}: {str(error).splitlines()[0]}"]
    return [] if condition.max_new_tokens > 0 else [f"{where}.max_new_tokens is less than 1"]


def _missing_models(plan: StudyPlan, methods: Mapping[str, MethodPlan], name: str) -> list[str]:
    """Check that the models of other methods that a method needs are trained for each seed."""
    method, sentences = methods[name], []
    reference, where = method.reference, f"methods.{name}"
    if reference is not None and (reference not in methods or reference == name):
        sentences.append(f"{where}.reference is {reference!r}, not the name of another method")
    elif reference is not None and methods[reference].reference is not None:
        sentences.append(f"{where}.reference: {reference} has a reference of its own")
    conditions = [c for c in method.conditions or () if c in plan.conditions]
    partners = {
        partner_of(plan.condition(c))
        for c in conditions
        if not _condition_problems(plan, methods, c)
    }
    for needed in sorted({str(o) for o in (reference, *partners) if o in methods and o != name}):
        if set(method.seeds or ()) - set(methods[needed].seeds or ()):
            sentences.append(f"{where} needs the models of {needed}, which lacks some of its seeds")
        if "steps" not in _equal_rules(plan, methods, needed):
            sentences.append(f"{where} needs the models of {needed} trained for equal steps")
    return sentences


def _equal_rules(plan: StudyPlan, methods: Mapping[str, MethodPlan], name: str) -> Sequence[str]:
    """Return what a method has in common with the plain one: steps, text tokens or both."""
    plain = method_settings(plan.methods[name]).get("method") == "none"
    equal = methods[name].equal or (("steps",) if plain else plan.equal)
    return [equal] if isinstance(equal, str) else equal


def _comparison_problems(plan: StudyPlan, methods: Mapping[str, MethodPlan]) -> list[str]:
    sentences = [f"metrics names {name!r}, which is none of {', '.join(RATIOS)}"
             for name in plan.metrics if name not in RATIOS]  # fmt: skip
    named = [
        (f"compare: {text!r}", side) for text in plan.compare for side in comparison_sides(text)
    ]
    if plan.advantage != Advantage():  # without the default method, nothing is compared
        named += [("advantage", plan.advantage.alone), ("advantage", plan.advantage.partner)]
    for where, side in named:
        method, _, condition = side.partition("/")
        if method not in methods or condition not in (methods[method].conditions or ()):
            sentences.append(f"{where} names {side!r}, which is no METHOD/CONDITION of this study")
    return sentences
