"""Reading training cases: formats, and errors that name the line."""

import json

import pytest

from lacy.errors import LacyError
from lacy.route import (
    CaseFields,
    RouteCase,
    RouterSettings,
    fit_router,
    mean_costs,
    read_cases,
    routes_of,
    targets_of,
)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_classes_and_outcomes_are_read(tmp_path):
    classes = write(tmp_path / "a.jsonl", [{"text": "1 + 1", "route": "sums", "source": "s"},
                                           {"text": "a wren", "route": "birds"}])  # fmt: skip
    found = read_cases(classes)
    assert [(one.route, one.source) for one in found] == [("sums", "s"), ("birds", "a")]
    outcomes = write(tmp_path / "b.jsonl", [
        {"text": "hi", "scores": {"x": True, "y": 0.5, "z": None}, "costs": {"x": 2}},
        {"text": "ho", "scores": {"y": 1}, "costs": {"x": 4}}])  # fmt: skip
    found = read_cases(outcomes)
    assert routes_of(found) == ("x", "y")
    assert targets_of(found, ("x", "y"))[0].tolist() == [1.0, 0.5]
    assert mean_costs(found, ("x", "y")) == {"x": 3.0}


def test_a_table_is_read(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,scores.x,scores.y,costs.x\nhi,1,0.25,3\nho,,1,\n", encoding="utf-8")
    found = read_cases([table])
    assert found[0].scores == {"x": 1.0, "y": 0.25} and found[1].scores == {"y": 1.0}
    assert found[0].costs == {"x": 3.0} and found[1].costs == {}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "a"}, "neither"),
        ({"text": "a", "route": " "}, "neither"),
        ({"text": "a", "route": ["x"]}, "its route is a list"),
        ({"text": "a", "route": "x", "scores": {"x": 1}}, "both"),
        ({"text": "a", "scores": {"x": 7}}, "scores['x'] is 7, not a number from 0 to 1"),
        ({"text": "a", "scores": {"x": "good"}}, "is 'good'"),
        ({"text": "a", "scores": "{x"}, "no JSON"),
        ({"text": "a", "scores": [1, 0]}, "are a list"),
        ({"text": "a", "scores": {"x": 1}, "costs": {"x": -1}}, "not 0 or more"),
        ({"text": "a", "scores": {"x": 1}}, "the cases before it have classes"),
    ],
)
def test_an_unusable_case_is_an_error_with_its_line(tmp_path, row, why):
    path = write(tmp_path / "a.jsonl", [{"text": "fine", "route": "x"}, row])
    with pytest.raises(LacyError, match="E370") as caught:
        read_cases(path)
    assert why in str(caught.value) and "a.jsonl:2" in str(caught.value)


def test_a_limit_bounds_the_number_of_cases(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": f"t{n}", "route": "x"} for n in range(9)])
    assert len(read_cases(path, limit=4)) == 4
    with pytest.raises(LacyError, match=r"one route \(x\)"):
        fit_router(read_cases(path))


def test_the_shapes_of_public_outcome_files_are_read(tmp_path):
    table = tmp_path / "routellm.csv"
    table.write_text("prompt,org/a-8x7B,gpt-4,gpt-4_response\nhi,True,False,x\nho,false,,y\n")
    found = read_cases(table, CaseFields(text="prompt", models=("org/a-8x7B", "gpt-4")))
    assert [dict(one.scores) for one in found] == [{"org/a-8x7B": 1.0, "gpt-4": 0.0},
                                                   {"org/a-8x7B": 0.0}]  # fmt: skip
    lines = write(tmp_path / "answers.jsonl", [
        {"query": "hi", "model_name": "a", "performance": 0.5, "price": 2},
        {"query": "hi", "model_name": "b", "performance": 1, "price": None},
        {"query": "hi", "model_name": "a", "performance": 0.25, "price": 3},
    ])  # fmt: skip
    names = CaseFields(text="query", model="model_name", score="performance", cost="price")
    [one] = read_cases(lines, names)  # the later score of a model counts
    assert dict(one.scores) == {"a": 0.25, "b": 1.0} and dict(one.costs) == {"a": 3.0}


def test_numbers_may_be_missing_in_any_way_that_files_have(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "scores": {"x": 1, "y": NaN, "z": null}, "route": null}\n')
    assert dict(read_cases(path)[0].scores) == {"x": 1.0}
    table = tmp_path / "a.csv"
    table.write_text("text,scores.x,scores.y\na,nan,0.5\nb,NA,1\nc,,0\n")
    assert [dict(one.scores) for one in read_cases(table)] == [{"y": 0.5}, {"y": 1.0}, {"y": 0.0}]
    numbers = write(tmp_path / "b.jsonl", [{"text": "a", "route": 3.0, "source": 0}])
    assert [(one.route, one.source) for one in read_cases(numbers)] == [("3", "0")]


def test_every_file_of_a_folder_is_a_source(tmp_path):
    for name in ("gpt-4.1", "gpt-4.5"):
        write(tmp_path / f"{name}.jsonl", [{"text": name, "route": "x"}])
    assert [one.source for one in read_cases(tmp_path)] == ["gpt-4.1", "gpt-4.5"]


def test_outcomes_of_equal_texts_from_two_sources_count_for_all_their_models():
    cases = [RouteCase(f"{word} {n}", None, {model: float(n % 2)}, source=source)
             for n in range(9) for word, model, source in (
                 ("Text", "a", "one"), ("text", "b", "two"))]  # fmt: skip
    made = fit_router(cases, RouterSettings(head="length")).made
    assert made["cases"] == 9 and made["cases_per_route"] == {"a": 9, "b": 9}


def test_equal_texts_are_one_case_when_a_route_has_few():
    cases = [RouteCase(f"{name} {n}", name) for n in range(5) for name in ("a", "b")]
    with pytest.raises(LacyError, match="the route c has 1 case of different texts"):
        fit_router([*cases, *[RouteCase("c", "c")] * 3], RouterSettings(head="length"))
