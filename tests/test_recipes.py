"""Recipes of training: values say where they come from, commands exist, and the paper's trains."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from lacy.cli import main
from lacy.config import load
from lacy.corpus import PackedData
from lacy.model.presets import get_preset
from lacy.testing import byte_tokenizer
from lacy.train import TrainConfig, dry_run, train
from lacy.train.flops import GPUS, gpu_hours
from lacy.train.schedule import make_schedule

ROOT = Path(__file__).parent.parent
PAPER, SMALL = (ROOT / "recipes" / f"{name}.yaml" for name in ("paper-334m", "wiki-cpu"))
RECIPES = (PAPER, SMALL)
ORIGIN = re.compile(r"\bours\b|\bpaper\b.{0,20}§|\bpaper §")


def lacy(*argv):
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


def blocks(text):
    """(comment, settings) of each paragraph below the header."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        keys = [line for line in lines if not line.startswith("#")]
        if keys:
            comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
            yield comment, keys


def shown(text):
    """The ``lacy`` commands of the comments, as words."""
    for line in text.splitlines():
        found = re.match(r"#\s+\(?(lacy .*?)\)?$", line)
        if found:
            yield shlex.split(found[1])[1:]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_value_says_where_it_comes_from(recipe):
    found = list(blocks(recipe.read_text(encoding="utf-8")))
    assert len(found) > 5
    for comment, keys in found:
        assert ORIGIN.search(comment), keys


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_its_commands_exist(recipe, capsys):
    config = load(TrainConfig, recipe, overrides={"data": "somewhere"})
    config.check()
    commands = list(shown(recipe.read_text(encoding="utf-8")))
    assert {"train", "data"} <= {words[0] for words in commands}
    for words in commands:
        kept = [word for word in words if not word.endswith(".yaml")]
        lacy(*kept, "--no-such-flag")
        assert "there is no flag --no-such-flag" in capsys.readouterr().err, words


def test_the_paper_s_numbers():
    config = load(TrainConfig, PAPER)
    assert (config.method, config.call_rate, config.call_negative) == ("lacy", 0.15, "none")
    assert (config.text_weight, config.model) == (0.0, "334m")
    steps = make_schedule(config, rows=0, context=1024)
    assert steps.total == round(340_000 * 1.15)
    assert steps.total * config.batch_rows * 1024 == pytest.approx(50e9, rel=0.03)
    assert steps.warmup == pytest.approx(2000, abs=50)
    assert steps.decay_start == steps.warmup
    preset = get_preset("334m")
    without_positions = preset.parameters(32_001, 1024) - 1024 * preset.width
    assert without_positions // 1_000_000 == 334


def test_the_paper_s_methods_are_settings():
    """The flags of the table in the header, each a valid run."""
    config = load(TrainConfig, PAPER, overrides={"data": "somewhere"})
    rows = re.findall(r"^#   \S.*?(--(?:method|ignore) .*)$", PAPER.read_text(), re.MULTILINE)
    assert len(rows) == 8
    names = {field: type(getattr(config, field)) for field in vars(config)}
    for row in rows:
        words = shlex.split(row)
        changes = dict(zip(words[::2], words[1::2], strict=True))
        keys = {flag.removeprefix("--"): value for flag, value in changes.items()}
        assert set(keys) <= set(names)
        if "steps" in keys:
            keys["steps"] = int(keys["steps"])
        replace(config, **keys).check()


def test_the_paper_s_recipe_trains_in_small(tmp_path):
    """All its settings but the sizes, on a few biographies."""
    from lacy.annotate import encode
    from lacy.world import make_world

    tokenizer = byte_tokenizer()
    encoded = [encode(document, tokenizer) for document in make_world(12, 0).documents("train")]
    PackedData.write(encoded[:12], tokenizer, 64, tmp_path / "data")
    config = replace(
        load(TrainConfig, PAPER),
        data=tmp_path / "data", out=tmp_path / "run", model="tiny", steps=5, batch_rows=8,
        hold_out=0.1, eval_every=2, dtype="fp32", device="cpu", threads=1, quiet=True,
    )  # fmt: skip
    result = train(config)
    assert result.finished
    assert result.metrics["call_rate"] == pytest.approx(0.15, abs=0.02)


def test_the_paper_s_hours_as_a_user_types_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lacy("train", PAPER, "--dry-run") == 0
    out = capsys.readouterr().out
    for words in (
        "data/wiki-334m is missing",
        "lacy data mark TEXTS --kind unigram --vocab-size 32001 --context 1024 "
        "--out data/wiki-334m",
        "assumed: 32,001 tokens of vocabulary, 1,024 per row (the paper's, §5.1)",
        "335,857,664 parameters",
        "391,000 steps, 51,249,152,000 tokens",
        "3.08e+09 FLOP per token, 1.58e+20 in all",
        "A100-80GB 351, H100-SXM 111, H200-SXM 111, RTX-4090 664 (if 24 GB were enough)",
        "at 40% of its bf16 peak: assumed, not measured",
        "rate control two_pass",
    ):
        assert words in out, words
    assert not list(tmp_path.iterdir())
    assert lacy("train", PAPER, "--dry-run", "--rate-control", "running") == 0
    assert "A100-80GB 264, H100-SXM 83" in capsys.readouterr().out


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "how-to" / "paper.md").read_text(encoding="utf-8")
    shown_lines = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1].splitlines()
    assert lacy("train", PAPER, "--dry-run") == 0
    out = capsys.readouterr().out
    assert len(shown_lines) > 3
    for line in shown_lines:
        assert line.strip() in out, line


def test_the_hours_of_the_paper_s_table_are_those_of_a_dry_run(tmp_path):
    table = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `(.*?)` \| [^|]* \| not run: (\d+), (\d+) ", table)
    assert len(rows) == 4
    for flags, a100, h100 in rows:
        words = [] if flags.endswith(".yaml") else shlex.split(flags)
        given = {key[2:]: value for key, value in zip(words[::2], words[1::2], strict=True)}
        changes = {**given, "steps": int(given.get("steps", 391_000))}
        config = replace(load(TrainConfig, PAPER), data=tmp_path / "none", **changes)
        report = dry_run(config)
        counted = [round(gpu_hours(report.flops, gpu)) for gpu in GPUS[:2]]
        assert counted == [int(a100), int(h100)], flags


def test_the_small_recipe_still_tells_its_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lacy("train", SMALL, "--data", "data/wiki", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "data/wiki is missing" in out and "ask for fp32" in out
