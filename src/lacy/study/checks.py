"""What is wrong with a study's plan, all of it at once, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy._convert import Nested, Problem, fields_from
from lacy.errors import LacyError
from lacy.study.metrics import RATIOS
from lacy.study.partners import parse_source
from lacy.study.plan import (
    FIXED,
    OURS,
    Advantage,
    ArmPlan,
    StudyPlan,
    Way,
    arm_of,
    partner_of,
    settings_of,
    sides,
    way_values,
)
from lacy.train import TrainConfig

COMPARED = (*RATIOS, "f1")
"""Metrics that can be compared person by person."""


def problems_of(plan: StudyPlan) -> list[str]:
    """What is wrong with a plan, each a sentence."""
    found = [f"{name} is empty" for name in ("arms", "ways", "sizes", "seeds")
             if not getattr(plan, name)]  # fmt: skip
    if not 0.0 <= plan.call_rate <= 1.0:
        found.append(f"call_rate is {plan.call_rate}, it is a share between 0 and 1")
    if plan.ask < 1 or plan.world.texts < 1:
        found.append("ask and world.texts are at least 1")
    if plan.world.people < 10:
        found.append(f"world.people is {plan.world.people}, it is at least 10")
    found += _training("train", plan.train, ours=())
    for name, settings in plan.sizes.items():
        found += _name(f"sizes.{name}", name) + _training(f"sizes.{name}", settings or {}, ours=())
    arms = {name: _checked_arm(plan, name, found) for name in plan.arms}
    for name in plan.ways:
        found += _way(plan, arms, name)
    for name in plan.arms:
        found += _needs(plan, arms, name)
    return found + _comparisons(plan, arms)


def _name(where: str, name: str) -> list[str]:
    """Names become parts of file names, and of ARM/WAY."""
    bad = any(character in name for character in "/ @.") or not name
    return [f"{where}: a name has no blank and none of / @ ."] if bad else []


def _told(problems: Sequence[Problem]) -> list[str]:
    return [
        f"{problem.key} is {problem.value!r}, expected {problem.expected}"
        if problem.expected
        else f"unknown {problem.key}{problem.hint}"
        for problem in problems
    ]


def _training(where: str, settings: Any, ours: Iterable[str]) -> list[str]:
    """Keys and values that no training run takes."""
    if not isinstance(settings, Mapping):
        return [f"{where} is {settings!r}, not `key: value` lines"]
    found = [f"{where}.{key} is given by the study itself" for key in settings
             if key in FIXED and key not in ours]  # fmt: skip
    rest = {key: value for key, value in settings.items() if key not in (*ours, *FIXED)}
    problems: list[Problem] = []
    values = fields_from(TrainConfig, rest, f"{where}.", problems)
    found += _told(problems)
    if not problems and not any(isinstance(value, Nested) for value in values.values()):
        config = TrainConfig(**{**values, "data": Path("data"), "reference": Path("reference")})
        found += [f"{where}: {sentence}" for sentence in config.problems()]
    return found


def _checked_arm(plan: StudyPlan, name: str, found: list[str]) -> ArmPlan:
    """An arm's own part; its problems are added to ``found``."""
    problems: list[Problem] = []
    arm = arm_of(plan, name, problems)
    found += _name(f"arms.{name}", name)
    found += _training(f"arms.{name}", plan.arms[name] or {}, OURS)
    found += _told(problems)
    found += [f"arms.{name}.ways names {way!r}, which is no way" for way in arm.ways or ()
              if way not in plan.ways]  # fmt: skip
    return arm


def _way(plan: StudyPlan, arms: Mapping[str, ArmPlan], name: str) -> list[str]:
    from lacy.cascade import parse_policy

    where = f"ways.{name}"
    problems: list[Problem] = []
    values = way_values(plan.ways[name], f"{where}.", problems)
    found = _name(where, name) + _told(problems)
    if found or "policy" not in values:
        return found or [f"{where}.policy is not given"]
    way = Way(**values)
    try:
        if way.policy != "oracle":
            parse_policy(way.policy)
        partner = partner_of(way)
        if partner is None:
            parse_source(way.source)
        elif partner not in arms:
            return [f"{where}.source names the arm {partner!r}, which does not exist"]
    except (LacyError, ValueError) as error:
        return [f"{where}: {str(error).splitlines()[0]}"]
    return [] if way.max_new_tokens > 0 else [f"{where}.max_new_tokens is less than 1"]


def _needs(plan: StudyPlan, arms: Mapping[str, ArmPlan], name: str) -> list[str]:
    """Models of other arms that an arm needs: they must be there, for each of its seeds."""
    arm, found = arms[name], []
    if arm.reference is not None and (arm.reference not in arms or arm.reference == name):
        found.append(f"arms.{name}.reference is {arm.reference!r}, not the name of another arm")
    elif arm.reference is not None and arms[arm.reference].reference is not None:
        found.append(f"arms.{name}.reference: {arm.reference} has a reference of its own")
    named = [way for way in arm.ways or () if way in plan.ways]
    partners = {partner_of(plan.way(way)) for way in named if not _way(plan, arms, way)}
    needed = {other for other in (arm.reference, *partners) if other in arms and other != name}
    for other in sorted(str(other) for other in needed):
        if set(arm.seeds or ()) - set(arms[other].seeds or ()):
            found.append(f"arms.{name} needs the models of {other}, which lacks some of its seeds")
        if "steps" not in _equal(plan, arms, other):
            found.append(f"arms.{name} needs the models of {other} trained for equal steps")
    return found


def _equal(plan: StudyPlan, arms: Mapping[str, ArmPlan], name: str) -> Sequence[str]:
    plain = settings_of(plan.arms[name]).get("arm") == "none"
    equal = arms[name].equal or (("steps",) if plain else plan.equal)
    return [equal] if isinstance(equal, str) else equal


def _comparisons(plan: StudyPlan, arms: Mapping[str, ArmPlan]) -> list[str]:
    found = [f"metrics names {name!r}, which is none of {', '.join(COMPARED)}"
             for name in plan.metrics if name not in COMPARED]  # fmt: skip
    named = [(f"compare: {text!r}", side) for text in plan.compare for side in sides(text)]
    if plan.advantage != Advantage():  # the default may be missing: then there is no such share
        named += [("advantage", plan.advantage.alone), ("advantage", plan.advantage.partner)]
    for where, side in named:
        arm, _, way = side.partition("/")
        if arm not in arms or way not in (arms[arm].ways or ()):
            found.append(f"{where} names {side!r}, which is no ARM/WAY of this study")
    return found
