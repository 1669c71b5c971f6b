"""A recipe is spelled out into cells whose keys change with all that a result depends on."""

from dataclasses import replace
from pathlib import Path

import pytest

from lacy.errors import LacyError
from lacy.study.plan import StudyPlan, WorldPlan, cells, needs, read_plan, way_key
from lacy.train.config import TrainConfig

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*-world.yaml"))

BASE = {
    "sizes": {"tiny": {"model": "tiny"}},
    "methods": {
        "plain": {"method": "none", "ways": ["alone", "oracle"]},
        "lacy": {"method": "lacy", "ways": ["alone", "argmax"]},
        "rho": {"method": "rho", "reference": "@plain", "ways": ["argmax"]},
    },
    "ways": {
        "alone": {"policy": "never", "source": ""},
        "oracle": {"policy": "oracle", "source": "truth"},
        "argmax": "threshold=0",
    },
}


def plan(**changed):
    return StudyPlan(**{**BASE, **changed})


def problems(**changed):
    with pytest.raises(LacyError) as raised:
        plan(**changed).check()
    return str(raised.value)


def test_cells_are_methods_by_seeds_by_sizes_and_references_come_first():
    found = cells(plan(seeds=(0, 1), sizes={"tiny": {"model": "tiny"}, "demo": {"model": "demo"}}))
    assert len(found) == 3 * 2 * 2
    assert len({cell.key for cell in found}) == len(found)
    names = [cell.name for cell in found]
    assert names.index("tiny.plain.steps.s0") < names.index("tiny.rho.steps.s0")
    assert [cell.seed for cell in found] == [0] * 6 + [1] * 6
    assert found[0].settings["model"] == "tiny"


def test_an_method_has_ways_seeds_and_an_equal_of_its_own():
    methods = {**BASE["methods"], "lacy": {"equal": ["steps", "text_tokens"], "seeds": [3]}}
    found = {cell.name: cell for cell in cells(plan(methods=methods, seeds=(0,)))}
    assert "tiny.lacy.steps.s3" in found and "tiny.lacy.text_tokens.s3" in found
    assert "tiny.lacy.steps.s0" not in found and "tiny.plain.steps.s3" not in found
    assert found["tiny.lacy.steps.s3"].ways == tuple(BASE["ways"])


def test_a_plain_model_is_taught_all_text_and_trains_once():
    found = cells(plan(equal=("steps", "text_tokens"), seeds=(0,)))
    assert [cell.equal for cell in found if cell.method == "plain"] == ["steps"]
    assert [cell.equal for cell in found if cell.method == "lacy"] == ["steps", "text_tokens"]


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
    before = {cell.name: cell.key for cell in cells(plan())}
    after = {cell.name: cell.key for cell in cells(plan(**changed))}
    assert before["tiny.lacy.steps.s0"] != after["tiny.lacy.steps.s0"]


def test_a_reference_that_changes_changes_what_it_ranks():
    methods = {
        **BASE["methods"],
        "plain": {"method": "none", "lr": 1e-4, "ways": ["alone", "oracle"]},
    }
    before = {cell.name: cell.key for cell in cells(plan())}
    after = {cell.name: cell.key for cell in cells(plan(methods=methods))}
    assert before["tiny.rho.steps.s0"] != after["tiny.rho.steps.s0"]
    assert before["tiny.lacy.steps.s0"] == after["tiny.lacy.steps.s0"]


def test_a_default_of_training_that_changes_changes_the_keys(monkeypatch):
    before = {cell.name: cell.key for cell in cells(plan())}
    given = {cell.name: cell.key for cell in cells(plan(train={"text_weight": 0.5}))}
    assert before == given  # the default, said or not
    init = TrainConfig.__init__
    changed = tuple(
        0.25 if value == TrainConfig.text_weight else value for value in init.__defaults__
    )
    monkeypatch.setattr(init, "__defaults__", changed)
    after = {cell.name: cell.key for cell in cells(plan())}
    assert all(before[name] != after[name] for name in before)


def test_names_folders_and_comparisons_change_no_key():
    other = plan(out=Path("elsewhere"), compare=("lacy/argmax - plain/alone",), ask=7)
    assert [c.key for c in cells(plan())] == [c.key for c in cells(other)]
    cell = cells(plan())[1]
    assert way_key(plan(), cell, "alone") != way_key(other, cell, "alone")
    assert way_key(plan(), cell, "alone") != way_key(plan(), cell, "alone", "another partner")


def test_numbers_that_yaml_reads_as_text_are_numbers():
    found = cells(plan(train={"lr": "6e-3"}))
    assert found[0].settings["lr"] == 6e-3
    assert [cell.key for cell in found] == [cell.key for cell in cells(plan(train={"lr": 6e-3}))]


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
        ({"methods": {**BASE["methods"], "x": {"ways": ["nowhere"]}}}, "ways names 'nowhere'"),
        ({"methods": {**BASE["methods"], "x": {"cue": "llm"}}}, "cue is 'llm'"),
        ({"methods": {**BASE["methods"], "a/b": {}}}, "a name has no blank"),
        ({"methods": {**BASE["methods"], "x": {"reference": "@y"}}}, "reference is 'y'"),
        ({"methods": {**BASE["methods"], "x": {"reference": "@rho"}}}, "rho has a reference"),
        ({"ways": {**BASE["ways"], "x": "sometimes"}}, "ways.x: [E61]"),
        (
            {"ways": {**BASE["ways"], "x": {"policy": "never", "sauce": "a"}}},
            "unknown ways.x.sauce",
        ),
        ({"ways": {**BASE["ways"], "x": {"policy": 5}}}, "ways.x.policy is 5, expected text"),
        ({"ways": {**BASE["ways"], "x": {"source": ""}}}, "ways.x.policy is not given"),
        ({"ways": {**BASE["ways"], "x": {"policy": "never", "source": None}}}, "ways.x.source is"),
        ({"ways": {**BASE["ways"], "x": {"policy": "never", "unit": "page"}}}, "ways.x.unit is"),
        ({"ways": {**BASE["ways"], "a/b": "never"}}, "ways.a/b: a name has no blank"),
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
                "ways": {**BASE["ways"], "lm": {"policy": "never", "source": "@lacy"}},
                "methods": {
                    **BASE["methods"],
                    "lacy": {"method": "lacy", "ways": ["argmax"], "seeds": [0]},
                    "x": {"ways": ["lm"], "seeds": [0, 1]},
                },
            },
            "methods.x needs the models of lacy, which lacks some of its seeds",
        ),
        ({"ways": {**BASE["ways"], "x": {"policy": "never", "source": "@who"}}}, "method 'who'"),
        ({"ways": {**BASE["ways"], "x": {"policy": "never", "source": "web"}}}, "'web' is none of"),
        ({"compare": ("lacy/argmax - lacy/nowhere",)}, "'lacy/nowhere', which is no METHOD/WAY"),
        ({"compare": ("lacy/argmax",)}, "names '', which is no METHOD/WAY"),
    ],
)
def test_every_problem_of_a_plan_is_said(changed, says):
    assert says in problems(**changed)


def test_all_problems_are_said_at_once():
    shown = problems(call_rate=2.0, train={"learning": 1}, methods={})
    assert "[E85] " in shown and shown.count("\n  - ") >= 3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_plans_and_share_their_runs(recipe):
    read = read_plan(recipe)
    smoke = read.smoke()
    smoke.check()
    assert {cell.method for cell in cells(smoke)} == set(read.methods)
    assert smoke.ways.keys() == read.ways.keys()
    assert read.runs == Path("studies/world-runs")
    methods = read_plan(next(path for path in RECIPES if path.stem == "methods-world"))
    ours, theirs = ({c.name: c.key for c in cells(p)} for p in (read, methods))
    assert ours["demo.lacy.steps.s0" if "lacy" in read.methods else "demo.plain.steps.s0"] in (
        theirs.values()
    )


def test_methods_bring_the_methods_they_need():
    ways = {**BASE["ways"], "helped": {"policy": "never", "source": "@lacy"}}
    methods = {**BASE["methods"], "x": {"ways": ["helped"]}}
    assert needs(plan(ways=ways, methods=methods), ["x"]) == {"x", "lacy", "plain"}
    assert needs(plan(), ["rho"]) == {"rho", "plain"}


def test_smoke_keeps_seeds_of_methods_out_and_leaves_the_plan_as_it_is():
    methods = {**BASE["methods"], "lacy": {"method": "lacy", "seeds": [2], "steps": 900}}
    small = replace(plan(methods=methods)).smoke()
    assert {cell.seed for cell in cells(small)} == {0}
    assert {cell.settings["steps"] for cell in cells(small)} == {6}
