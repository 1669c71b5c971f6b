"""`lacy compress` as it is typed."""

import json
from dataclasses import asdict

import pytest
import yaml

from helpers import pages
from lacy.compress import OUTPUTS, STEPS

PLAN = """
steps:
  - layers: {remove: 1}
outputs:
  - gguf: {precision: f16}
  - folder: {precision: bf16}
rows: 8
length: 48
articles: 24
measure: {texts: 4, tokens: 48, subjects: 2, speed: true}
"""


def lacy(*argv):
    return pages.lacy(*map(str, argv))


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(PLAN)
    return path


@pytest.mark.slow
def test_a_plan_becomes_files_a_table_and_a_page(
    tuned, articles, plan, tmp_path, capsys, monkeypatch
):
    """Without its step, of which the speed would be measured like that of the original."""
    monkeypatch.setattr("lacy.compress.speed.NEW_TOKENS", 6)
    monkeypatch.setattr("lacy.compress.speed.REPEAT", 3)
    plan.write_text(PLAN.replace("steps:\n  - layers: {remove: 1}", "steps: []"))
    out = tmp_path / "out"
    words = ("compress", tuned, "--data", articles, "--plan", plan, "--out", out)
    assert lacy(*words) == 0
    shown = capsys.readouterr()
    assert "rise of the loss off and on facts" in shown.out and "gguf-f16" in shown.out
    assert str(out / "outputs/gguf-f16/model.gguf") in shown.out.replace("\n", "")
    assert "gguf-f16: size" in shown.err
    page = (out / "report.html").read_text()
    assert "Size against loss" in page and "gguf-f16" in page and "<svg" in page
    stages = json.loads((out / "compression.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["original", "gguf-f16", "folder-bf16"]
    assert all(stage["measured"]["scores"]["decode_rate"]["value"] > 0 for stage in stages)
    assert all(stage["measured"]["scores"]["peak_memory"]["value"] > 1e7 for stage in stages)
    assert lacy(*words) == 0
    assert "gguf-f16: done already" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    tuned, articles, plan, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ("compress", tuned, "--data", articles, "--plan", plan, "--out", out, "--dry-run")
    assert lacy(*words) == 0
    shown = capsys.readouterr().out
    assert "32 for the steps, 4 to measure on" in shown
    assert "1-layers" in shown and "remove 1" in shown and "gguf-f16" in shown
    assert not out.exists()


def test_all_settings_of_steps_and_outputs_can_be_written(capsys):
    assert lacy("help", "config", "compress") == 0
    shown = capsys.readouterr().out
    listed = shown.partition("defaults:\n#\n")[2]
    items = yaml.safe_load("\n".join(line.removeprefix("# ") for line in listed.splitlines()))
    for name, kinds in (("steps", STEPS), ("outputs", OUTPUTS)):
        found = {}
        for item in items[name]:
            found |= {item: {}} if isinstance(item, str) else item
        assert found == {kind: asdict(cls()) for kind, cls in kinds.items()}
    assert "Mean number of bits per weight" in listed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--data"),
        (["--data", "nowhere.jsonl"], "E13"),
        (["--data", "nowhere.jsonl", "--dry-run"], "E13"),
        (["--data", "nowhere.jsonl", "--plan", "phon"], "did you mean 'phone'"),
    ],
)
def test_a_mistake_gets_a_hint(flags, expected, tuned, tmp_path, capsys):
    assert lacy("compress", tuned, "--out", tmp_path / "o", *flags) != 0
    assert expected in capsys.readouterr().err
