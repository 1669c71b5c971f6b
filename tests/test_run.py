"""Runs on disk: whole or absent, also when the process is killed; two settings never mix."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.run import Run, environment, flatten, read_metrics


@dataclass
class Optim:
    lr: float = 1e-3


@dataclass
class Settings:
    """Settings of a run."""

    steps: int = 10
    name: str = "a"
    optim: Optim = field(default_factory=Optim)


# --------------------------------------------------------------------------------------- Run


def test_a_run_contains_settings_environment_metrics_and_card(tmp_path):
    run = Run(tmp_path / "r", Settings(steps=3))
    run.write_environment(note="x")
    run.log(step=1, loss=2.5)
    run.log(step=2, loss=float("nan"), parts={"text": float("inf")}, list=[1.0, float("nan")])
    run.card("My model", {"steps": 3}, "It speaks.")
    assert "steps: 3" in run.config_file.read_text()
    assert json.loads(run.environment_file.read_text())["note"] == "x"
    assert run.metrics() == [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": None, "parts": {"text": None}, "list": [1.0, None]},
    ]
    card = run.card_file.read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# My model" in card
    assert "| steps | 3 |" in card
    assert card.endswith("It speaks.\n")


def test_the_same_settings_continue_a_run(tmp_path):
    Run(tmp_path, Settings()).log(step=1)
    Run(tmp_path, Settings()).log(step=2)
    assert [row["step"] for row in Run(tmp_path).metrics()] == [1, 2]


def test_different_settings_are_refused_and_nothing_is_written(tmp_path):
    Run(tmp_path, Settings(name="a")).log(step=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(LacyError) as caught:
        Run(tmp_path, Settings(name="b", optim=Optim(lr=1.0)))
    assert caught.value.code == "E17"
    assert "name: 'a' -> 'b'" in str(caught.value)
    assert "optim.lr: 0.001 -> 1.0" in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_setting_newer_than_the_run_counts_as_its_default(tmp_path):
    Run(tmp_path, Settings(name="a"))
    file = tmp_path / "config.yaml"
    old = "".join(line for line in file.read_text().splitlines(True) if "steps" not in line)
    file.write_text(old)
    with pytest.raises(LacyError, match="steps"):
        Run(tmp_path, Settings(name="a", steps=Settings().steps + 1))
    Run(tmp_path, Settings(name="a"))
    assert "steps" in file.read_text()


def test_named_settings_may_differ_and_the_newest_is_kept(tmp_path):
    Run(tmp_path, Settings(steps=10))
    run = Run(tmp_path, Settings(steps=20), may_differ=["steps"])
    assert "steps: 20" in run.config_file.read_text()


def test_a_mapping_may_be_the_settings(tmp_path):
    Run(tmp_path, {"a": {"b": 1}})
    with pytest.raises(LacyError):
        Run(tmp_path, {"a": {"b": 2}})


def test_a_file_instead_of_a_run_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LacyError) as caught:
        Run(tmp_path / "file")
    assert caught.value.code == "E16"


@given(st.integers(0, 40))
def test_an_incomplete_last_line_is_ignored_and_not_extended(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("r")
    run = Run(folder)
    run.log(step=1, loss=1.0)
    whole = run.metrics_file.read_bytes()
    line = json.dumps({"step": 2, "loss": 0.123456789, "x": "é"}).encode()
    run.metrics_file.write_bytes(whole + line[:cut])
    assert read_metrics(run.metrics_file) in (
        [{"step": 1, "loss": 1.0}],
        [{"step": 1, "loss": 1.0}, json.loads(line)],
    )
    again = Run(folder)
    again.log(step=2)
    assert [row["step"] for row in again.metrics()] == [1, 2]


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(LacyError) as caught:
        read_metrics(tmp_path / "m.jsonl")
    assert (caught.value.code, caught.value.values["line"]) == ("E18", 2)


def test_a_missing_metrics_file_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "absent.jsonl") == []


def test_rewinding_drops_what_will_be_written_again(tmp_path):
    run = Run(tmp_path)
    run.log(event="start")
    for step in range(5):
        run.log(step=step)
    run.rewind(2)
    assert [row.get("step") for row in run.metrics()] == [None, 0, 1, 2]


WRITER = """
import sys
from lacy.run import Run
run = Run(sys.argv[1])
step = 0
while True:
    step += 1
    run.log(step=step, text="x" * 1000)
    if step == 50:
        print("writing", flush=True)
"""


def test_metrics_survive_kill_9(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    run = Run(tmp_path)
    count = len(run.metrics())
    assert count >= 50
    run.log(step=count + 1)
    assert [row["step"] for row in run.metrics()] == list(range(1, count + 2))


# ------------------------------------------------------------------------------- environment


def test_the_environment_names_versions_and_nothing_private():
    found = environment()
    assert found["lacy"]
    assert found["packages"]["torch"].startswith("2.")
    assert found["cores"] >= 1
    text = json.dumps(found)
    for private in (os.path.expanduser("~"), os.uname().nodename):
        assert private in ("/", "") or private not in text


def test_flatten_joins_names_with_dots():
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": [1]}) == {"a.b.c": 1, "d": {}, "e": [1]}
