"""Settings: file, flags and commented dump agree; mistakes are named with key, value and place."""

import enum
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.cli.flags import make_parser, parse
from lacy.config import (
    Inline,
    Positional,
    Rare,
    Repeated,
    dump_commented,
    field_docs,
    load,
    read_yaml,
    to_dict,
)
from lacy.errors import LacyError


class Decay(enum.Enum):
    LINEAR = 1
    COSINE = 2


@dataclass(frozen=True)
class Optim:
    """How weights move."""

    lr: float = 1e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Momenta of AdamW."""
    decay: Decay = Decay.LINEAR
    """Shape of the last part."""


@dataclass
class TrainConfig:
    """A training run: data in, model out.

    More about it.
    """

    data: Path
    """Packed data,
    from ``lacy data mark``."""
    method: Literal["lacy", "none"] = "lacy"
    """What is delegated."""
    steps: int = 100
    """Optimizer steps."""
    name: str | None = None
    """What to call it."""
    compile: bool = False
    """Whether to compile."""
    layers: list[int] = field(default_factory=lambda: [1, 2])
    """Sizes."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of each source."""
    optim: Optim = field(default_factory=Optim)
    """Optimizer."""


def file(tmp_path, text):
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def wrong(tmp_path, text, **overrides):
    with pytest.raises(LacyError) as caught:
        load(TrainConfig, file(tmp_path, text), overrides)
    return caught.value


def test_defaults_then_file_then_overrides(tmp_path):
    path = file(tmp_path, "data: wiki\nsteps: 7\noptim:\n  lr: 3e-4\n")
    config = load(TrainConfig, path, {"steps": 9, "optim.decay": "COSINE"})
    assert config == TrainConfig(Path("wiki"), steps=9, optim=Optim(lr=3e-4, decay=Decay.COSINE))
    assert load(Optim) == Optim()


def test_an_unknown_key_is_an_error_with_a_suggestion_and_its_line(tmp_path):
    error = wrong(tmp_path, "data: x\n\nstpes: 3\n")
    assert error.code == "E10"
    assert error.exit_code == 2
    assert "'stpes'" in str(error)
    assert "did you mean 'steps'?" in str(error)
    assert "train.yaml, line 3" in str(error)
    assert "lacy help config train" in str(error)


def test_a_nested_unknown_key_is_named_with_its_path(tmp_path):
    error = wrong(tmp_path, "data: x\noptim:\n  beta: [0.9, 0.9]\n")
    assert (error.code, error.values["key"]) == ("E10", "optim.beta")
    assert "'optim.betas'" in str(error)


def test_a_dissimilar_name_gets_no_suggestion(tmp_path):
    assert "mean" not in str(wrong(tmp_path, "data: x\nqqqqqq: 1\n"))


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("steps: many", "steps", "a whole number"),
        ("steps: 1.5", "steps", "a whole number"),
        ("steps: true", "steps", "a whole number"),
        ("steps: .inf", "steps", "a whole number"),
        ("method: lazy", "method", "one of: lacy, none; did you mean 'lacy'?"),
        (
            "name: 3",
            "name",
            "text or null; write names that look like numbers, true, false or null in quotes",
        ),
        ("compile: 1", "compile", "true or false"),
        ("layers: 3", "layers", "a list (of a whole number)"),
        ("layers: abc", "layers", "a list (of a whole number)"),
        ("layers: [1, x]", "layers", "a list (of a whole number)"),
        ("shares: [1]", "shares", "a mapping (to a number)"),
        ("shares: {a: b}", "shares", "a mapping (to a number)"),
        ("optim: fast", "optim", "a mapping of settings (lr, betas, decay)"),
        ("optim: {lr: high}", "optim.lr", "a number"),
        ("optim: {betas: [0.9]}", "optim.betas", "a list of 2 items"),
        ("optim: {decay: SUDDEN}", "optim.decay", "one of: LINEAR, COSINE"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(tmp_path, line, key, expected):
    error = wrong(tmp_path, f"data: x\n{line}\n")
    assert (error.code, error.values["key"]) == ("E12", key)
    assert f"expected {expected} (" in str(error)
    assert "train.yaml, line 2" in str(error)


def test_all_problems_are_reported_at_once(tmp_path):
    error = wrong(tmp_path, "data: x\nstpes: 3\nmethod: lazy\noptim:\n  lrr: 1\n")
    assert error.code == "E14"
    assert "3 problems" in str(error)
    for part in ("'stpes' (line 2)", "method is 'lazy'", "(line 3)", "'optim.lrr' (line 5)"):
        assert part in str(error)


def test_a_missing_required_setting_is_named(tmp_path):
    error = wrong(tmp_path, "steps: 1\n")
    assert (error.code, error.values["key"]) == ("E12", "data")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("data: [1\n", "line 2"),
        ("- a\n- b\n", "['a', 'b']"),
        ("just words", "'just words'"),
        ("steps: 1\nsteps: 2\n", "line 1 and again in line 2"),
        ("optim:\n  lr: 1\n  lr: 2\n", "'optim.lr' is set in line 2"),
    ],
)
def test_an_invalid_settings_file_is_an_error_with_a_reason(tmp_path, text, part):
    error = wrong(tmp_path, text)
    assert error.code == "E15"
    assert part in str(error)


def test_a_file_in_another_encoding_or_absent_says_so(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    for path, code in [("latin.yaml", "E15"), ("absent.yaml", "E13"), (".", "E13")]:
        with pytest.raises(LacyError) as caught:
            load(TrainConfig, tmp_path / path)
        assert caught.value.code == code


def test_an_empty_file_changes_nothing(tmp_path):
    assert load(Optim, file(tmp_path, "# nothing\n")) == Optim()


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    path = file(tmp_path, "data: x\nsteps: 1e3\noptim: {lr: 1e-3, betas: [1, 5e-1]}\n")
    config = load(TrainConfig, path)
    assert config.steps == 1000
    assert isinstance(config.steps, int)
    assert config.optim == Optim(lr=1e-3, betas=(1.0, 0.5))


def test_the_commented_file_has_docs_choices_and_defaults():
    text = dump_commented(TrainConfig(Path("x"), steps=5))
    assert text.startswith("# A training run: data in, model out.\n")
    assert "# Packed data, from ``lacy data mark``.\ndata: x\n" in text
    assert "# What is delegated. One of: lacy, none.\nmethod: lacy\n" in text
    assert "# Optimizer steps. Default: 100.\nsteps: 5\n" in text
    assert "  # Peak learning rate.\n  lr: 0.001\n" in text
    assert "More about it" not in text


def test_the_commented_file_of_a_class_leaves_required_settings_to_fill_in():
    text = dump_commented(TrainConfig)
    assert "# data:    (required)\n" in text
    assert yaml.safe_load(text)["steps"] == 100


words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Z", "S")), max_size=20)
configs = st.builds(
    TrainConfig,
    data=words.map(Path),
    method=st.sampled_from(["lacy", "none"]),
    steps=st.integers(),
    name=st.none() | words,
    compile=st.booleans(),
    layers=st.lists(st.integers(), max_size=3),
    shares=st.dictionaries(words, st.floats(allow_nan=False), max_size=3),
    optim=st.builds(
        Optim,
        lr=st.floats(allow_nan=False),
        betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        decay=st.sampled_from(Decay),
    ),
)


@settings(deadline=None)
@given(configs)
def test_dumped_settings_are_read_back(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("dump") / "c.yaml"
    path.write_text(dump_commented(config), encoding="utf-8")
    assert load(TrainConfig, path) == config
    path.write_text(yaml.safe_dump(to_dict(config)), encoding="utf-8")
    assert load(TrainConfig, path) == config


def test_docs_of_a_base_class_are_found():
    @dataclass(frozen=True)
    class Child(Optim):
        more: int = 1
        """Own."""

    assert field_docs(Child)["lr"] == "Peak learning rate."
    assert field_docs(Child)["more"] == "Own."


def test_flags_override_the_file_which_overrides_defaults(tmp_path):
    path = str(file(tmp_path, "data: wiki\nsteps: 7\noptim:\n  lr: 3e-4\n"))
    flags = ["--optim.decay", "COSINE", "--steps", "9", "--compile"]
    expected = TrainConfig(
        Path("wiki"), steps=9, compile=True, optim=Optim(lr=3e-4, decay=Decay.COSINE)
    )
    for argv in ([path, *flags], ["--config", path, *flags], [f"--config={path}", *flags]):
        assert parse(TrainConfig, argv, command="train") == expected


def test_mistakes_in_settings_by_name_are_named(tmp_path):
    @dataclass
    class Wines:
        """Wines."""

        cellar: dict[str, Optim] = field(default_factory=dict)
        """By name."""

    path = tmp_path / "a.yaml"
    path.write_text("cellar:\n  red: {lr: 0.5}\n  white: {}\n")
    assert load(Wines, path).cellar == {"red": Optim(lr=0.5), "white": Optim()}
    path.write_text("cellar:\n  red: {lr: dry}\n  white: {lrr: 1}\n  rose: 3\n")
    with pytest.raises(LacyError) as caught:
        load(Wines, path)
    for words in ("cellar.red.lr is 'dry'", "'cellar.white.lrr'", "cellar.rose is 3", "(line 2)"):
        assert words in str(caught.value)


def test_flags_alone_need_no_file():
    assert parse(TrainConfig, ["--data", "d"], command="train") == TrainConfig(Path("d"))


def test_a_required_setting_missing_from_file_and_flags_is_named(tmp_path):
    with pytest.raises(LacyError, match="--data is missing") as caught:
        parse(TrainConfig, [str(file(tmp_path, "steps: 7\n"))], command="train")
    assert (caught.value.code, caught.value.exit_code) == ("E115", 2)


def test_a_mistyped_flag_gets_a_hint_and_the_programs_name():
    with pytest.raises(LacyError) as caught:
        parse(TrainConfig, ["--data", "d", "--stepps", "3"], command="train")
    assert (caught.value.code, caught.value.exit_code) == ("E115", 2)
    assert "lacy train: there is no flag --stepps" in str(caught.value)
    assert "did you mean --steps?" in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--steps", "abc"], "expected a whole number"),
        (["--steps"], "--steps: expected one argument"),
        (["--optim.lr", "fast"], "expected a number"),
        (["surplus"], "unexpected argument 'surplus'"),
        (["-x"], "there is no flag -x"),
        (["--compile=maybe"], "--compile/--no-compile: ignored explicit argument"),
    ],
)
def test_a_wrong_argument_is_named(argv, part):
    with pytest.raises(LacyError) as caught:
        parse(TrainConfig, ["--data", "d", *argv], command="train")
    assert part in str(caught.value)
    assert caught.value.exit_code == 2


@dataclass
class Everything:
    """Fields of each kind.

    Not in the file.
    """

    # [Input]
    name: Positional[str]
    """Of the thing."""
    more: Positional[list[str]] = field(default_factory=list)
    """Any number of texts
    in one sentence."""
    # [Numbers]
    pair: tuple[float, float] = (0.9, 0.95)
    """Two numbers."""
    sizes: tuple[int, ...] = ()
    """Any number."""
    limit: Rare[int | None] = 3
    """May be None."""
    tag: Repeated = field(default_factory=list)
    """One each time."""
    on: bool = True
    """A switch."""
    kind: Literal["red-wine", "white-wine", "water", "tea"] = "tea"
    """What to drink."""
    inner: Inline[Optim] = field(default_factory=Optim)
    """Flags without a prefix."""


def test_flags_of_each_kind_are_read():
    argv = ["x", "--pair", "0.5", "-1", "a", "--sizes", "1", "2", "--tag", "p", "--no-on", "b"]
    argv += ["--tag=q", "--limit", "None", "--lr", "1e-3", "--kind=water"]
    expected = Everything(
        "x", ["a", "b"], pair=(0.5, -1.0), sizes=(1, 2), limit=None, tag=["p", "q"],
        on=False, kind="water", inner=Optim(lr=1e-3),
    )  # fmt: skip
    assert parse(Everything, argv, command="x") == expected
    assert parse(Everything, ["x", "--on", "a"], command="x").on
    twice = ["x", "--sizes", "1", "2", "--sizes", "3"]
    assert parse(Everything, twice, command="x").sizes == (1, 2, 3)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_help_stands_under_headings_and_fits(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    short = make_parser(Everything, "x", everything=False).format_help()
    whole = make_parser(Everything, "x", examples="lacy x a").format_help()
    assert "--limit" not in short and "--help-all shows 1 more flag" in short
    assert "--limit N" in whole and "Numbers:\n" in whole
    assert "Any number of texts in one sentence." in short
    assert "--[no-]on" in short and "--pair X X" in short and whole.endswith("\n  lacy x a\n")
    assert max(map(len, whole.splitlines())) <= width
    entry = whole[whole.index("  --kind") :].split("\n  --")[0]
    assert "red-wine" in entry.replace("\n", " ") and "white-wine" in entry


def test_a_file_has_the_headings_of_its_settings(tmp_path):
    text = dump_commented(Everything("x"))
    headings = ["# ---- Input ----", "# ---- Numbers ----"]
    assert [line for line in text.splitlines() if "----" in line] == headings
    assert load(Everything, file(tmp_path, text)) == Everything("x")


@pytest.mark.parametrize(
    ("argv", "key", "meant"),
    [
        (["--method", "lacey"], "--method", "lacy"),
        (["--method=lacey"], "--method", "lacy"),
        (["--optim.decay", "COSIN"], "--optim.decay", "COSINE"),
    ],
)
def test_a_mistyped_choice_gets_a_suggestion(argv, key, meant):
    with pytest.raises(LacyError) as caught:
        parse(TrainConfig, ["--data", "d", *argv], command="train")
    assert (caught.value.code, caught.value.values["key"]) == ("E12", key)
    assert f"did you mean {meant!r}?" in str(caught.value)


def test_help_shows_the_docs_of_the_fields():
    shown = make_parser(TrainConfig, "train").format_help()
    assert "Optimizer steps." in shown
    assert "lacy train" in shown


def test_the_files_problems_come_before_the_flags(tmp_path):
    with pytest.raises(LacyError) as caught:
        parse(TrainConfig, [str(file(tmp_path, "stpes: 7\n")), "--nonsense"], command="train")
    assert caught.value.code == "E10"


def test_config_without_a_file_says_what_is_missing():
    with pytest.raises(LacyError) as caught:
        parse(TrainConfig, ["--config"], command="train")
    assert caught.value.code == "E115"


def test_lines_are_known_for_nested_keys(tmp_path):
    data, lines = read_yaml(file(tmp_path, "a: 1\nb:\n  c: 2\n  d: [1, {e: 3}]\n"))
    assert data["b"]["c"] == 2
    assert (lines["a"], lines["b"], lines["b.c"], lines["b.d"]) == (1, 2, 3, 4)


def test_reading_settings_needs_neither_torch_nor_yaml():
    heavy = "[m for m in ('torch', 'yaml') if m in sys.modules]"
    code = f"import sys, lacy.config, lacy.run; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_yaml_reads_as_other_types_get_advice(tmp_path):
    """``[1]`` where names are due, and a null where one is."""
    from lacy.study.plan import StudyPlan

    path = file(tmp_path, "compare: [1]\n")
    with pytest.raises(LacyError, match="in quotes") as caught:
        load(StudyPlan, path)
    assert "line 1" in str(caught.value)
    with pytest.raises(LacyError, match="in quotes"):
        load(TrainConfig, file(tmp_path, "name: 2024\n"))


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("Off", False), ("true", True)])
def test_words_of_yaml_1_1_become_booleans_for_boolean_settings(tmp_path, word, value):
    assert load(Switch, file(tmp_path, f"on: {word}\n")).on is value


@dataclass
class Switch:
    """One boolean, named as YAML 1.1 would not have it."""

    on: bool = False


def test_a_device_without_an_end_is_not_read_to_its_end():
    with pytest.raises(LacyError) as caught:
        load(TrainConfig, "/dev/zero")
    assert caught.value.code == "E15"
