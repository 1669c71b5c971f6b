"""``lacy route fit`` and ``lacy route ask``."""

import json

import pytest

from helpers.routing import outcome_cases, topic_cases, write_cases
from lacy.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cases(tmp_path / "requests.jsonl", topic_cases(60))
    write_cases(tmp_path / "outcomes.jsonl", outcome_cases(60))
    return tmp_path


def test_own_data_in_one_command_and_any_pair_of_models(here, capsys):
    argv = "route fit outcomes.jsonl --out pair --head tfidf --cost large=5".split()
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "cost 5" in shown.out and "one source, 3 times" in shown.out
    assert main(["route", "ask", "pair", "--strong-share", "0", "--json", "Which owl sings?"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["route"] == "small" and found["scores"]["large"] > found["scores"]["small"]
    assert "not by as much as its cost" in found["why"]


def test_the_default_head_is_told_with_its_reason(here, capsys):
    assert main("route fit requests.jsonl --out r --encoder none".split()) == 0
    assert "Head: tfidf (n-grams only" in capsys.readouterr().err
    assert main(["route", "ask", "r", "Which robin has a nest?", "--why"]) == 0
    shown = capsys.readouterr().out
    assert "chosen" in shown and "Why: birds has" in shown and "'nest'" in shown


def test_cases_are_added_from_a_file(here, capsys):
    assert main("route fit requests.jsonl --out r --head tfidf".split()) == 0
    write_cases(here / "more.jsonl", topic_cases(30, seed=4))
    assert main("route fit --out r --add more.jsonl".split()) == 0
    assert "9" in capsys.readouterr().out
    assert main("route fit --out none --add more.jsonl".split()) == 3


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ("route fit --out r", 2, "give cases, or --add"),
        ("route fit requests.jsonl --out r --add requests.jsonl", 2, "together"),
        ("route fit requests.jsonl --out r --head tfidf --cost x", 2, "NAME=NUMBER"),
        ("route fit requests.jsonl --out r --head tfidf --cost cats=1", 2, "E374"),
        ("route fit requests.jsonl --out r --head prompted", 2, "E373"),
        ("route fit requests.jsonl outcomes.jsonl --out r", 3, "E370"),
        ("route fit requests.jsonl --out here", 2, "E16"),
        ("route ask none hello", 3, "E372"),
    ],
)
def test_mistakes_are_explained(argv, code, words, here, capsys):
    (here / "here").mkdir()
    (here / "here" / "mine.txt").write_text("mine")
    assert main(argv.split()) == code
    assert words in capsys.readouterr().err


def test_costs_may_be_given_one_at_a_time_and_are_shown(here, capsys):
    assert main("route fit outcomes.jsonl --out pair --head length".split()) == 0
    capsys.readouterr()
    argv = ["route", "ask", "pair", "--cost", "small=3", "--cost", "large=7", "Which owl sings?"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "7" in shown and "3" in shown and "0.1" not in shown


def test_names_of_columns_are_flags(here, capsys):
    rows = [f"{'sing' if n % 2 else 'add'} {n},{n % 2 == 1},True" for n in range(40)]
    (here / "quiz.csv").write_text("\n".join(["prompt,tiny,gpt", *rows]))
    argv = "route fit quiz.csv --out q --head tfidf --text-field prompt --model-columns tiny gpt"
    assert main(argv.split()) == 0
    shown = capsys.readouterr().out
    assert "40 scores, mean 0.500" in shown and "40 scores, mean 1.000" in shown


def test_settings_that_do_not_count_with_add_are_refused(here, capsys):
    assert main("route fit requests.jsonl --out r --head tfidf".split()) == 0
    assert main("route fit --out r --add requests.jsonl --head knn".split()) == 2
    assert "the router keeps its own" in capsys.readouterr().err
    assert main("route fit --out r --add requests.jsonl --text-field text".split()) == 0
