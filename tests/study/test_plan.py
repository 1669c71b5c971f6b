"""A recipe is spelled out into runs whose keys change with all that a result depends on."""

from dataclasses import replace
from pathlib import Path

import pytest

from lacy.errors import LacyError
from lacy.study.checks import check_plan, read_plan
from lacy.study.plan import StudyPlan, WorldPlan, condition_key, planned_runs, required_methods
from lacy.train.config import TrainConfig

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*-world.yaml"))

BASE = {
    "sizes": {"tiny": {"model": "tiny"}},
    "methods": {
        "plain": {"method": "none", "conditions": ["alone", "oracle"]},
        "lacy": {"method": "lacy", "conditions": ["alone", "argmax"]},
        "rho": {"method": "rho", "reference": "@plain", "conditions": ["argmax"]},
    },
    "conditions": {
        "alone": {"policy": "never", "source": ""},
        "oracle": {"policy": "oracle", "source": "truth"},
        "argmax": "threshold=0",
    },
}


def plan(**changed):
    return StudyPlan(**{**BASE, **changed})


def problems(**changed):
    with pytest.raises(LacyError) as raised:
        check_plan(plan(**changed))
    return str(raised.value)


def test_runs_are_methods_by_seeds_by_sizes_with_references_first():
    found = planned_runs(
        plan(seeds=(0, 1), sizes={"tiny": {"model": "tiny"}, "demo": {"model": "demo"}})
    )
    assert len(found) == 3 * 2 * 2
    assert len({run.key for run in found}) == len(found)
    names = [run.name for run in found]
    assert names.index("tiny.plain.steps.s0") < names.index("tiny.rho.steps.s0")
    assert [run.seed for run in found] == [0] * 6 + [1] * 6
    assert found[0].settings["model"] == "tiny"


def test_a_method_can_have_its_own_conditions_seeds_and_equal():
    methods = {**BASE["methods"], "lacy": {"equal": ["steps", "text_tokens"], "seeds": [3]}}
    found = {run.name: run for run in planned_runs(plan(methods=methods, seeds=(0,)))}
    assert "tiny.lacy.steps.s3" in found and "tiny.lacy.text_tokens.s3" in found
    assert "tiny.lacy.steps.s0" not in found and "tiny.plain.steps.s3" not in found
    assert found["tiny.lacy.steps.s3"].conditions == tuple(BASE["conditions"])


def test_a_plain_model_trains_once():
    found = planned_runs(plan(equal=("steps", "text_tokens"), seeds=(0,)))
    assert [run.equal for run in found if run.method == "plain"] == ["steps"]
    assert [run.equal for run in found if run.method == "lacy"] == ["steps", "text_tokens"]


@pytest.mark.parametrize(
    "changed",
    [
        {"train": {"lr": 1e-3}},
        {"methods": {**BASE["methods"], "lacy": {"method": "lacy", "call_rate": 0.2}}},
        {"methods": {**BASE["methods"], "lacy": {"method": "lacy", "cue": "rules"}}},
        {"sizes": {"tiny": {"model": "demo"}}},
    ],
)
def test_what_changes_a_result_changes_its_key(changed):
    before = {run.name: run.key for run in planned_runs(plan())}
    after = {run.name: run.key for run in planned_runs(plan(**changed))}
    assert before["tiny.lacy.steps.s0"] != after["tiny.lacy.steps.s0"]


def test_a_reference_that_changes_changes_what_it_ranks():
    methods = {
        **BASE["methods"],
        "plain": {"method": "none", "lr": 1e-4, "conditions": ["alone", "oracle"]},
    }
    before = {run.name: run.key for run in planned_runs(plan())}
    after = {run.name: run.key for run in planned_runs(plan(methods=methods))}
    assert before["tiny.rho.steps.s0"] != after["tiny.rho.steps.s0"]
    assert before["tiny.lacy.steps.s0"] == after["tiny.lacy.steps.s0"]


def test_a_default_of_training_that_changes_changes_the_keys(monkeypatch):
    before = {run.name: run.key for run in planned_runs(plan())}
    given = {run.name: run.key for run in planned_runs(plan(train={"text_weight": 0.5}))}
    assert before == given  # the default, said or not
    init = TrainConfig.__init__
    changed = tuple(
        0.25 if value == TrainConfig.text_weight else value for value in init.__defaults__
    )
    monkeypatch.setattr(init, "__defaults__", changed)
    after = {run.name: run.key for run in planned_runs(plan())}
    assert all(before[name] != after[name] for name in before)


def test_names_folders_and_comparisons_change_no_key():
    other = plan(out=Path("elsewhere"), compare=("lacy/argmax - plain/alone",), ask=7)
    assert [c.key for c in planned_runs(plan())] == [c.key for c in planned_runs(other)]
    run = planned_runs(plan())[1]
    assert condition_key(plan(), run, "alone") != condition_key(other, run, "alone")
    assert condition_key(plan(), run, "alone") != condition_key(
        plan(), run, "alone", "another partner"
    )


def test_numbers_that_yaml_reads_as_text_are_numbers():
    found = planned_runs(plan(train={"lr": "6e-3"}))
    assert found[0].settings["lr"] == 6e-3
    assert [run.key for run in found] == [run.key for run in planned_runs(plan(train={"lr": 6e-3}))]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"methods": {}}, "methods is empty"),
        ({"call_rate": 2.0}, "call_rate is 2.0"),
        ({"train": {"learning": 1}}, "unknown train.learning"),
        ({"train": {"seed": 1}}, "train.seed is given by the study itself"),
        ({"train": {"steps": "many"}}, "train.steps is 'many', expected"),
        ({"train": {"lr": -1.0}}, "train: lr is -1.0"),
        ({"sizes": {"big": {"model": "huge"}}}, "model is 'huge'"),
        (
            {"methods": {**BASE["methods"], "x": {"conditions": ["nowhere"]}}},
            "conditions names 'nowhere'",
        ),
        ({"methods": {**BASE["methods"], "x": {"cue": "llm"}}}, "cue is 'llm'"),
        ({"methods": {**BASE["methods"], "a/b": {}}}, "a name has no blank"),
        ({"methods": {**BASE["methods"], "x": {"reference": "@y"}}}, "reference is 'y'"),
        ({"methods": {**BASE["methods"], "x": {"reference": "@rho"}}}, "rho has a reference"),
        ({"conditions": {**BASE["conditions"], "x": "sometimes"}}, "conditions.x: [E61]"),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": "never", "sauce": "a"}}},
            "unknown conditions.x.sauce",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": 5}}},
            "conditions.x.policy is 5, expected text",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"source": ""}}},
            "conditions.x.policy is not given",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": "never", "source": None}}},
            "conditions.x.source is",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": "never", "unit": "page"}}},
            "conditions.x.unit is",
        ),
        (
            {"conditions": {**BASE["conditions"], "a/b": "never"}},
            "conditions.a/b: a name has no blank",
        ),
        ({"sizes": {"a b": {"model": "tiny"}}}, "sizes.a b: a name has no blank"),
        ({"methods": {**BASE["methods"], "x": {"seeds": 3}}}, "methods.x.seeds is 3, expected"),
        (
            {"methods": {**BASE["methods"], "x": {"seeds": ["a"]}}},
            "methods.x.seeds is ['a'], expected",
        ),
        (
            {"methods": {**BASE["methods"], "x": {"equal": "foo"}}},
            "methods.x.equal is 'foo', expected",
        ),
        ({"world": WorldPlan(people=3)}, "world.people is 3"),
        ({"metrics": ("nonsense",)}, "metrics names 'nonsense'"),
        (
            {
                "conditions": {**BASE["conditions"], "lm": {"policy": "never", "source": "@lacy"}},
                "methods": {
                    **BASE["methods"],
                    "lacy": {"method": "lacy", "conditions": ["argmax"], "seeds": [0]},
                    "x": {"conditions": ["lm"], "seeds": [0, 1]},
                },
            },
            "methods.x needs the models of lacy, which lacks some of its seeds",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": "never", "source": "@who"}}},
            "method 'who'",
        ),
        (
            {"conditions": {**BASE["conditions"], "x": {"policy": "never", "source": "web"}}},
            "'web' is none of",
        ),
        (
            {"compare": ("lacy/argmax - lacy/nowhere",)},
            "'lacy/nowhere', which is no METHOD/CONDITION",
        ),
        ({"compare": ("lacy/argmax",)}, "names '', which is no METHOD/CONDITION"),
    ],
)
def test_every_problem_of_a_plan_is_reported(changed, says):
    assert says in problems(**changed)


def test_all_problems_are_reported_at_once():
    shown = problems(call_rate=2.0, train={"learning": 1}, methods={})
    assert "[E85] " in shown and shown.count("\n  - ") >= 3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_plans_and_share_their_runs(recipe):
    read = read_plan(recipe)
    smoke = read.smoke()
    check_plan(smoke)
    assert {run.method for run in planned_runs(smoke)} == set(read.methods)
    assert smoke.conditions.keys() == read.conditions.keys()
    assert read.runs == Path("studies/world-runs")
    methods = read_plan(next(path for path in RECIPES if path.stem == "methods-world"))
    ours, theirs = ({c.name: c.key for c in planned_runs(p)} for p in (read, methods))
    assert ours["demo.lacy.steps.s0" if "lacy" in read.methods else "demo.plain.steps.s0"] in (
        theirs.values()
    )


def test_methods_include_the_methods_they_need():
    conditions = {**BASE["conditions"], "helped": {"policy": "never", "source": "@lacy"}}
    methods = {**BASE["methods"], "x": {"conditions": ["helped"]}}
    assert required_methods(plan(conditions=conditions, methods=methods), ["x"]) == {
        "x",
        "lacy",
        "plain",
    }
    assert required_methods(plan(), ["rho"]) == {"rho", "plain"}


def test_smoke_keeps_seeds_of_methods_out_and_leaves_the_plan_as_it_is():
    methods = {**BASE["methods"], "lacy": {"method": "lacy", "seeds": [2], "steps": 900}}
    small = replace(plan(methods=methods)).smoke()
    assert {run.seed for run in planned_runs(small)} == {0}
    assert {run.settings["steps"] for run in planned_runs(small)} == {4}
