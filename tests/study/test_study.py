"""Whole studies as a user types them: trained, stopped, continued, and their tables recomputed."""

import json
import math
import os
import re
import signal
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.processes import ended, limited_file_size, running
from helpers.waiting import PATIENCE, until
from lacy.cli import main
from lacy.disk import OWNER_FILE, lock
from lacy.results import MODEL_METRICS, RATIOS
from lacy.study import jobs_of, planned_runs, read_plan, runner, work

pytestmark = pytest.mark.slow

RECIPE = {
    "world": {"people": 16, "texts": 3, "vocabulary": 512, "calibration": 8},
    "train": {"steps": 8, "batch_rows": 2, "device": "cpu", "dtype": "fp32", "threads": 1,
              "log_every": 2, "call_negative": "softmax", "text_weight": 0.5},
    "sizes": {"tiny": {"model": "tiny"}},
    "seeds": [0, 1],
    "ask": 4,
    "methods": {
        "plain": {"method": "none", "conditions": ["alone", "random", "oracle"]},
        "lacy": {"method": "lacy", "conditions": ["half", "token"],
                 "equal": ["steps", "text_tokens"],
                 "text_weight": 0.0},
        "rho": {"method": "rho", "reference": "@plain", "conditions": ["lm"], "seeds": [0]},
        "cue": {"method": "lacy", "cue": "bundled", "conditions": ["half"], "seeds": [0],
                "call_rate": 0.05},
    },
    "conditions": {
        "alone": {"policy": "never", "source": "", "max_new_tokens": 24},
        "random": {"policy": "random=0.3", "max_new_tokens": 24},
        "oracle": {"policy": "oracle", "source": "truth", "max_new_tokens": 24},
        "half": {"policy": "budget=0.3", "source": "database:errors=0.5", "max_new_tokens": 24},
        "token": {"policy": "budget=0.3", "source": "truth", "unit": "token",
                  "max_new_tokens": 24},
        "lm": {"policy": "budget=0.3", "source": "@plain", "unit": "word", "max_new_tokens": 24},
    },
    "compare": ["plain/oracle - plain/alone", "lacy/half - plain/random", "lacy/half - cue/half"],
}  # fmt: skip


def lacy(*argv):
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


def write(folder, **changed):
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "out": str(folder / "out"), **changed}))
    return file


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    recipe = write(folder)
    assert lacy("study", recipe, "--jobs", 2) == 0
    return recipe, folder / "out"


def test_every_run_and_condition_has_rows(study):
    recipe, out = study
    results = pd.read_csv(out / "results.csv", keep_default_na=False, na_values={"value": [""]})
    asked = results[results.seed >= 0].groupby(["run", "condition"]).size()
    expected = {
        (run.name, condition)
        for run in planned_runs(read_plan(recipe))
        for condition in (*run.conditions, "")
    }
    assert set(asked.index) == expected
    assert pd.read_parquet(out / "results.parquet").shape == results.shape
    held = pd.read_csv(out / "runs.csv").set_index("run")
    assert set(held.index) == {run.name for run in planned_runs(read_plan(recipe))}
    assert held.loc["tiny.cue.steps.s0", "cue"] == "bundled"
    assert json.loads((out / "setup.json").read_text())["seeds"] == [0, 1]
    assert (out / "report.html").exists()
    assert not (
        out / OWNER_FILE
    ).exists()  # no other verb may replace a study, or what lies beside it


def test_every_metric_is_there(study):
    _, out = study
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    mine = results[(results.method == "lacy") & (results.seed == 0)]
    assert set(MODEL_METRICS) <= set(mine[mine.condition == ""].metric)
    assert set(mine[mine.condition == "half"].metric) <= {*RATIOS, "recovered"}
    assert {"call_rate", "recall", "calls_per_answer"} <= set(mine[mine.condition == "half"].metric)


def test_stretched_runs_have_as_many_text_targets_as_plain_ones(study):
    _, out = study
    held = pd.read_csv(out / "runs.csv").set_index("run")
    plain, steps, stretched = (
        held.loc[f"tiny.{name}.s0"] for name in ("plain.steps", "lacy.steps", "lacy.text_tokens")
    )
    assert plain.text_tokens == plain.tokens == steps.tokens
    assert steps.text_tokens == pytest.approx(0.85 * steps.tokens, rel=0.02)
    one_step = plain.tokens / plain.steps
    assert abs(stretched.text_tokens - plain.text_tokens) <= one_step


def test_comparisons_never_mix_what_is_equal(study):
    _, out = study
    found = pd.read_csv(out / "comparisons.csv")
    equals = found.groupby(["a", "b"]).equal.unique()
    assert set(equals["lacy/half", "plain/random"]) == {"steps", "text_tokens"}
    assert set(equals["lacy/half", "cue/half"]) == {"steps"}  # cue has no stretched run
    assert set(equals["plain/oracle", "plain/alone"]) == {"steps"}
    assert set(found.n) == {4, 8} and set(found.seeds) == {1, 2}


def test_nothing_is_repeated_and_only_what_is_new_is_run(study, capsys):
    recipe, out = study
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.json") if "setup" not in p.name}
    assert lacy("study", recipe, "--jobs", 1) == 0
    assert "done train" not in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    conditions = {**RECIPE["conditions"], "new": {"policy": "never", "max_new_tokens": 8}}
    more = write(
        recipe.parent,
        methods={**RECIPE["methods"], "plain": {"method": "none"}},
        conditions=conditions,
    )
    plan = read_plan(more)
    todo = [name for name, job in jobs_of(plan).items() if not job.done()]
    assert sorted(todo) == ["ask tiny.plain.steps.s0", "ask tiny.plain.steps.s1"]


def test_dry_run_and_mistakes(study, capsys):
    recipe, _ = study
    assert lacy("study", recipe, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "training runs" in shown and "jobs done before" in shown
    assert lacy("study") == 2
    assert "RECIPE is missing" in capsys.readouterr().err
    assert lacy("study", recipe, "--only", "laci") == 2
    assert "there is no such choice" in capsys.readouterr().err


def test_seeds_given_are_those_of_every_method(study, capsys):
    recipe, _ = study
    assert lacy("study", recipe, "--seeds", 0, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert re.search(r"training runs +5\b", shown) and re.search(r"seeds +0\b", shown)
    assert lacy("study", recipe, "--seeds", 4, 5, "--dry-run") == 0
    assert re.search(r"training runs +10\b", capsys.readouterr().out)


def test_a_worker_that_dies_ends_the_study_with_a_reason(tmp_path):
    jobs = {
        name: runner.Job(name, os._exit, (1,), lambda: False) for name in ("first", "second")
    }  # as the kernel does to a process that takes too much memory
    board = runner.run_jobs(jobs, tmp_path, parallel=1, show=lambda board: None)
    assert [job.name for job in board.failed()] == ["first", "second"]
    assert all("a worker died" in job.error for job in board.failed())


def test_ctrl_c_stops_the_workers_and_says_so(tmp_path):
    long = {**RECIPE["train"], "steps": 100_000}
    recipe = write(tmp_path, seeds=[0], compare=[], train=long,
                   methods={"plain": RECIPE["methods"]["plain"]})  # fmt: skip
    metrics = (
        work.run_folder(read_plan(recipe), planned_runs(read_plan(recipe))[0]) / "metrics.jsonl"
    )
    errors = tmp_path / "errors.txt"
    with running(main, ["study", str(recipe), "--jobs", "1"], stderr=errors) as started:
        until(metrics.exists, started)
        os.killpg(started.pid, signal.SIGINT)
        assert ended(started, PATIENCE) == 130
    assert "Stopped." in errors.read_text()
    assert not Path(tmp_path / "out/errors").exists()


def test_workers_end_with_a_killed_study_which_continues(tmp_path, capsys):
    """While it runs, it has its folder for itself; later, a run that fails stops no other."""
    methods = {"plain": {"method": "none", "conditions": ["alone"]},
               "slow": {"method": "none", "steps": 100_000, "conditions": ["alone"]}}  # fmt: skip
    recipe = write(tmp_path, seeds=[0], compare=[], methods=methods)
    plan = read_plan(recipe)
    plain, slow = planned_runs(plan)
    folder = work.run_folder(plan, slow)
    with running(main, ["study", str(recipe), "--jobs", "1"]) as started:
        until((folder / "metrics.jsonl").exists, started)
        worker = int((folder / ".lock").read_text().split()[0])
        assert worker != started.pid
        capsys.readouterr()
        assert lacy("study", recipe, "--jobs", 1) == 2  # another study in the folder
        assert lacy("train", "--data", tmp_path, "--out", folder) == 2  # another run in a run's
        said = capsys.readouterr().err
        assert said.count("[E150]") == 2 and f"(process {started.pid})" in said
    # The parent alone has been killed.
    with lock(folder, wait=math.inf):  # the worker has ended, or will now
        rows = (folder / "metrics.jsonl").read_bytes()
    until(lambda: not alive(worker))
    assert (folder / "metrics.jsonl").read_bytes() == rows
    file = work.run_folder(plan, plain) / "run.json"
    before = file.stat().st_mtime_ns
    methods = {"plain": RECIPE["methods"]["plain"],
               "bad": {"method": "lacy", "conditions": ["alone"],
                       "model": str(tmp_path / "nothing")},
               "rho": {**RECIPE["methods"]["rho"], "reference": "@bad",
                       "conditions": ["alone"]}}  # fmt: skip
    recipe = write(tmp_path, methods=methods, seeds=[0], compare=[])
    assert lacy("study", recipe, "--jobs", 1) == 3
    assert file.stat().st_mtime_ns == before
    shown = capsys.readouterr()
    assert "[E84] 1 job(s) of the study failed" in shown.err
    assert "train tiny.bad.steps.s0" in shown.err
    assert "skipped train tiny.rho.steps.s0" in shown.out
    assert "Traceback" in (tmp_path / "out/errors/train.tiny.bad.steps.s0.txt").read_text()
    results = pd.read_csv(tmp_path / "out/results.csv", keep_default_na=False)
    assert set(results.method) == {"plain"}
    assert set(results.condition) == {"alone", "random", "oracle", ""}


def test_a_full_disk_ends_a_study_with_its_own_error(tmp_path):
    """Files may hold 64 KiB: enough for the texts, too little for a model."""
    recipe = write(tmp_path, seeds=[0], compare=[], methods={"plain": RECIPE["methods"]["plain"]})
    errors = tmp_path / "errors.txt"
    argv = ["study", str(recipe), "--jobs", "1"]
    with running(limited_file_size, 1 << 16, main, argv, stderr=errors) as started:
        assert ended(started, PATIENCE) == 2, errors.read_text()
    said = errors.read_text()
    assert said.startswith("[E19] ") and "File too large" in said
    assert "Traceback" not in said


def alive(pid):
    """Whether a process runs; one that has ended may wait for its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_studies_with_the_same_runs_train_each_of_them_once(tmp_path):
    """The second waits for the run that the first is training, and uses it."""
    plain = {"plain": RECIPE["methods"]["plain"]}
    plans = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        recipe = write(tmp_path / name, runs=str(tmp_path / "runs"), seeds=[0], compare=[],
                       methods=plain)  # fmt: skip
        plans.append(read_plan(recipe))
    run = planned_runs(plans[0])[0]
    threads = [
        threading.Thread(target=work.prepare_texts, args=(plan, 0, "gold")) for plan in plans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with lock(work.run_folder(plans[0], run).parent, name=f".{run.folder}.lock"):
        second = threading.Thread(target=work.train_run, args=(plans[1], run))
        second.start()
        work._train(plans[0], run, work.run_folder(plans[0], run))
        file = work.run_folder(plans[0], run) / "run.json"
        written = file.stat().st_mtime_ns
    second.join()
    assert file.stat().st_mtime_ns == written


def test_a_moved_study_continues(tmp_path):
    recipe = write(tmp_path, seeds=[0], compare=[], methods={"plain": RECIPE["methods"]["plain"]})
    plan = read_plan(recipe)
    run = planned_runs(plan)[0]
    work.prepare_texts(plan, 0, "gold")
    work.train_run(plan, run)
    (tmp_path / "out").rename(tmp_path / "moved")
    recipe = write(tmp_path, out=str(tmp_path / "moved"), seeds=[0], compare=[],
                   methods={"plain": RECIPE["methods"]["plain"]})  # fmt: skip
    moved = read_plan(recipe)
    folder = work.run_folder(moved, run)
    assert work.trained(moved, run)
    (folder / "run.json").unlink()  # as if it had been stopped at its last step
    work.train_run(moved, run)
    assert work.trained(moved, run)["steps"] == 8


def test_the_recipe_of_all_methods_runs_small(tmp_path):
    """Every method, control and condition of the published table, as a first try of the recipe."""
    recipe = Path(__file__).parents[2] / "recipes" / "methods-world.yaml"
    out = tmp_path / "out"
    assert lacy("study", recipe, "--smoke", "--out", out, "--jobs", 1) == 0
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    plan = read_plan(recipe)
    assert set(results.method) == set(plan.methods)
    assert set(results.condition) == {*plan.conditions, ""}
    assert not (out / "errors").exists()
