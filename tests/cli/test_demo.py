"""The demo, whole and as a user types it, on a smaller world: what it shows must come out."""

import json
import os
import re
import subprocess
import sys

import pytest

from lacy.cli import main

pytestmark = pytest.mark.slow

SMALL = ["--people", "100", "--steps", "240", "--ask", "25"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [sys.executable, "-m", "lacy", "demo", "--out", str(out), *SMALL],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture(scope="module")
def results(demo):
    return json.loads((demo[0] / "results.json").read_text())


def scores(found):
    """Every figure in nested results."""
    if isinstance(found, dict) and {"value", "low", "high", "n"} <= set(found):
        yield found
    elif isinstance(found, dict):
        for value in found.values():
            yield from scores(value)


def test_results_hold_every_promised_figure(results):
    assert results["seconds"] > 0
    right = results["facts_right"]
    assert {"plain_alone", "plain_random_calls", "lacy_alone", "lacy_database"} <= set(right)
    assert set(results["closed_book_recall"]) == {"plain", "lacy"}
    promised = [
        results[k] for k in ("call_rate", "call_auroc_value_start", "closed_book_recall")
    ] + [right]
    for figure in (s for part in promised for s in scores(part)):
        assert figure["n"] == 25
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_the_database_makes_the_facts_right_with_hardly_a_call_too_many(results):
    right = {name: score["value"] for name, score in results["facts_right"].items()}
    others = [value for name, value in right.items() if name != "lacy_database"]
    assert right["lacy_database"] > 0.75
    assert right["lacy_database"] > max(others) + 0.2
    rates = results["call_rate"]
    assert rates["plain_random_calls"]["value"] == pytest.approx(0.22, abs=0.04)
    assert results["controls_call_rate"] == 0.22
    # Where <CALL> is the likeliest token: about as much as values take, and hardly a call too many.
    assert 0.15 < rates["lacy_database"]["value"] < 0.3
    assert results["calls_per_fact"]["value"] < 1.3


def test_it_knows_where_facts_begin_and_a_plain_model_does_not(results):
    assert results["call_auroc_value_start"]["value"] > 0.97
    control = results["control_auroc_value_start"]
    assert all(control[name]["value"] < 0.85 for name in ("entropy", "top2"))


def test_the_screen_shows_what_the_results_say(demo, results):
    _, screen = demo
    best = results["facts_right"]["lacy_database"]["value"]
    assert f"{100 * best:.1f}%" in screen
    assert "lacy model, calls where it wants to" in screen.replace("\n", " ")
    for line in re.findall(r"^  (lacy \w+ .*)$", screen, re.MULTILINE):
        assert line.split()[1] in ("generate", "evaluate", "serve", "demo", "data")
    assert "Traceback" not in screen


def test_the_page_is_one_file_without_requests(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert "lacy model, calls where it wants to" in page and "<svg" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "<script" not in page


def test_what_it_says_to_try_next_works(demo, capsys):
    out, screen = demo
    line = next(line for line in screen.splitlines() if line.strip().startswith("lacy generate"))
    prompt = re.search(r"/lacy '([^']+)'", line).group(1)
    argv = ["generate", str(out / "lacy"), prompt, "--source", str(out / "world")]
    assert main([*argv, "--show"]) == 0
    assert prompt in capsys.readouterr().out


def test_a_second_demo_replaces_the_first_and_nothing_else(demo, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path), *SMALL]) == 2
    assert "E16" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").read_text() == "mine"
