"""``lacy evaluate --all`` and ``lacy compare``: what a user's mistakes print."""

import pytest

from helpers.pages import lacy
from lacy.results import Result
from lacy.scorecard import Scorecard, SectionResult, write_scorecard


def fails(capsys, *argv):
    assert lacy(*argv) == 2 or lacy(*argv) == 3
    return capsys.readouterr().err


def write(folder, model="tiny"):
    results = tuple(
        Result("answers_right", value, value - 0.1, value + 0.1, 20, "share", 0, {"condition": c})
        for c, value in (("alone", 0.2), ("cascade", 0.8))
    )
    section = SectionResult("questions", "Questions", "Right?", "key", results=results)
    write_scorecard(folder, Scorecard(model, "w", (section,)))


def test_a_file_that_does_not_exist_is_found_before_the_model_is_loaded(capsys):
    error = fails(capsys, "evaluate", "no-model", "--all", "--articles", "missing.jsonl")
    assert "--articles missing.jsonl does not exist" in error


def test_evaluate_without_data_names_the_flags(capsys):
    error = fails(capsys, "evaluate", "no-model")
    assert "--articles" in error and "lacy evaluate MODEL --all" in error


@pytest.mark.parametrize("argv", [(), ("a", "b", "c")])
def test_compare_takes_one_or_two(capsys, argv):
    assert "one" in fails(capsys, "compare", *argv)


def test_compare_says_what_is_no_scorecard(tmp_path, capsys):
    error = fails(capsys, "compare", str(tmp_path))
    assert "scorecard.json" in error and "lacy evaluate MODEL --all" in error


def test_compare_prints_values_without_counts_side_by_side(tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / name, name)
    out = tmp_path / "c.md"
    assert lacy("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert "20.0%" in shown and "80.0%" in shown and "not tested" in shown
    assert "## Questions" in out.read_text()
    assert lacy("compare", str(tmp_path / "a"), "--out", str(tmp_path / "c.html")) == 0
    assert "cascade against alone" in (tmp_path / "c.html").read_text()
    error = fails(capsys, "compare", str(tmp_path / "a"), "--out", str(tmp_path / "c.pdf"))
    assert ".html or .md" in error
    error = fails(capsys, "compare", str(tmp_path / "a"), "--conditions", "alone")
    assert "--conditions alone cascade" in error
