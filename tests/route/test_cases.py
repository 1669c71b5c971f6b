"""Reading training cases: formats, and errors that name the line."""

import json

import pytest

from lacy.errors import LacyError
from lacy.route import fit_router, mean_costs, read_cases, routes_of, targets_of


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
    with pytest.raises(LacyError, match="they have 1 route;"):
        fit_router(read_cases(path))
