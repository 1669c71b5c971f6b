"""Commands on small real data."""

import io
import json
import sqlite3

import pytest

from lacy._text import format_value
from lacy.cascade import CALIBRATION_TEXTS, default_policy, split_policy
from lacy.cascade.by_name import ranking_warning
from lacy.cli import main, options
from lacy.cli.help.error import readable_template
from lacy.errors import CATALOG, LacyError
from lacy.sources import open_source


def lacy(*argv):
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    assert lacy("data", "world", "--people", 30, "--per-person", 2, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def packed(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "p"
    argv = ["data", "mark", world, "--annotator", "gold", "--out", folder, "--vocab-size", 400]
    assert lacy(*argv, "--context", 512) == 0
    return folder


@pytest.fixture(scope="session")
def model(packed, tmp_path_factory):
    from lacy.corpus import load_tokenizer
    from lacy.model import build_model, save_model

    tokenizer = load_tokenizer(packed)
    folder = tmp_path_factory.mktemp("model") / "m"
    save_model(
        folder, build_model("tiny", tokenizer, context=512, seed=0), tokenizer, {"preset": "tiny"}
    )
    return folder


# --------------------------------------------------------------------- explain, env, config


def test_help_error_says_what_to_do(capsys):
    assert lacy("help", "error", "E20", "[e10]") == 0
    shown = capsys.readouterr().out
    assert "[E20] WHERE has TOKENS tokens but MARKS marks" in shown
    assert "Do: list all settings with: lacy help config COMMAND" in shown
    assert "exit code 3, in the data" in shown


def test_help_error_lists_all_and_knows_no_others(capsys):
    assert lacy("help", "error") == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CATALOG)
    assert lacy("help", "error", "E99") == 2
    assert "E99" in capsys.readouterr().err


def test_templates_are_readable():
    assert (
        readable_template("setting {key!r} is {value:.2f}:{why}{hint}")
        == "setting KEY is VALUE: WHY HINT"
    )


def test_env_is_for_reports(capsys):
    assert lacy("help", "env", "--json") == 0
    assert json.loads(capsys.readouterr().out)["packages"]["torch"]
    assert lacy("help", "env") == 0
    assert "- packages.torch: 2" in capsys.readouterr().out
    assert lacy("help", "env", "--yaml") == 2


@pytest.mark.parametrize(
    "command", ["train", "data mark", "data world", "generate", "serve", "evaluate", "study"]
)
def test_config_writes_a_commented_file_that_is_read_back(command, tmp_path, capsys):
    assert lacy("help", "config", *command.split()) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    settings = [n for n, line in enumerate(lines) if ": " in line and "#" not in line]
    assert settings
    assert all(lines[n - 1].lstrip().startswith("#") for n in settings), "a setting has no comment"
    from lacy.config import read_yaml

    (tmp_path / "c.yaml").write_text(text)
    data, _ = read_yaml(tmp_path / "c.yaml")
    assert data


def test_config_checks_and_completes_a_file(tmp_path, capsys):
    (tmp_path / "w.yaml").write_text("out: here\npeople: 50\n")
    assert lacy("help", "config", "data", "world", tmp_path / "w.yaml") == 0
    assert "people: 50" in capsys.readouterr().out
    (tmp_path / "w.yaml").write_text("out: here\npeopel: 50\n")
    assert lacy("help", "config", "data", "world", tmp_path / "w.yaml") == 2
    assert "did you mean 'people'" in capsys.readouterr().err


def test_help_config_lists_commands(capsys):
    assert lacy("help", "config", "--help") == 0
    assert "data mark" in capsys.readouterr().out
    assert lacy("help", "config", "help", "env") == 2
    assert "no settings file" in capsys.readouterr().err
    assert lacy("help", "config", "xyzzy") == 2
    assert "data mark" in capsys.readouterr().err
    assert lacy("help", "config", "trian") == 2
    assert "lacy help config train" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- world


def test_a_world_is_texts_truth_and_held_out_splits(world):
    assert {path.name for path in world.iterdir()} == {
        ".lacy", "train.jsonl", "valid.jsonl", "fresh.jsonl", "unseen.jsonl", "truth.sqlite",
        "world.json",
    }  # fmt: skip
    trained = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    unseen = [json.loads(line) for line in (world / "unseen.jsonl").read_text().splitlines()]
    assert len(trained) == 54
    assert not {row["person"] for row in trained} & {row["person"] for row in unseen}
    with sqlite3.connect(world / "truth.sqlite") as database:
        facts = set(database.execute("SELECT subject, value FROM fact"))
    database.close()
    row = trained[0]
    for start, end, *_ in row["marks"]:
        assert (row["person"], row["text"][start:end]) in facts


def test_a_dry_run_of_a_world_writes_nothing(tmp_path, capsys):
    assert lacy("data", "world", "--people", 2000, "--out", tmp_path / "w", "--dry-run") == 0
    assert "2,000" in capsys.readouterr().out
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("flag", ["--people", "--per-person"])
def test_a_world_without_people_or_texts_is_refused(flag, tmp_path, capsys):
    assert lacy("data", "world", flag, 0, "--out", tmp_path / "w") == 2
    assert capsys.readouterr().err.startswith("[E")
    assert not (tmp_path / "w").exists()


def test_a_world_replaces_no_foreign_folder(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert lacy("data", "world", "--people", 20, "--out", tmp_path) == 2
    assert capsys.readouterr().err.startswith("[E16]")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ------------------------------------------------------------------------- annotate and check


def test_gold_marks_become_packed_marks(packed, world, capsys):
    from lacy.corpus import PackedData

    info = PackedData.load(packed).info
    assert info.documents == 54
    assert info.context == 512
    assert 0.05 < info.shares["VALUE"] < 0.5
    assert lacy("data", "check", packed) == 0
    assert "VALUE" in capsys.readouterr().out
    assert lacy("data", "check", world / "valid.jsonl", "--tokenizer", packed) == 0
    assert lacy("data", "check", world / "valid.jsonl", "--what", "marks") == 2
    assert "--tokenizer" in capsys.readouterr().err


def test_texts_without_marks_are_refused_as_gold(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "Ada was born in 1815."}\n' * 3)
    argv = ["data", "mark", tmp_path / "a.jsonl", "--annotator", "gold", "--out", tmp_path / "p"]
    assert lacy(*argv, "--vocab-size", 300) == 2
    shown = capsys.readouterr().err
    assert "have no marks" in shown
    assert "--annotator spacy" in shown
    assert not (tmp_path / "p").exists()


def test_a_judges_labels_are_packed(tmp_path, capsys):
    text = "Ada was born in [dblookup('Ada', 'Birth Place') -> London] London."
    (tmp_path / "j.json").write_text(json.dumps({"examples": [{"annotated_text": text}] * 4}))
    argv = ["data", "mark", tmp_path / "j.json", "--annotator", "judge", "--out", tmp_path / "p"]
    assert lacy(*argv, "--vocab-size", 300, "--context", 64) == 0
    assert "marked VALUE" in capsys.readouterr().out


def test_a_dry_run_of_an_annotation_writes_nothing(world, tmp_path, capsys):
    argv = ["data", "mark", world, "--annotator", "gold", "--out", tmp_path / "p", "--dry-run"]
    assert lacy(*argv, "--vocab-size", 400) == 0
    assert "tokens, about" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_only_documents_with_a_field_are_read(tmp_path, capsys):
    rows = [{"text": f"Text {n}.", "good": n % 2 == 0, "marks": [[0, 4, "VALUE", None]]}
            for n in range(10)]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["data", "mark", tmp_path / "a.jsonl", "--annotator", "gold", "--out", tmp_path / "p"]
    argv += ["--vocab-size", 300, "--context", 16]
    assert lacy(*argv, "--only", "good") == 0
    assert "documents     5" in capsys.readouterr().out
    assert lacy(*argv, "--only", "good", "--limit", 2) == 0
    assert "documents     2" in capsys.readouterr().out


def test_check_counts_texts_and_names_places(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "Fine."}\n{broken\n{"text": ""}\n')
    assert lacy("data", "check", tmp_path / "a.jsonl") == 0
    shown = capsys.readouterr().out
    assert "documents                1" in shown
    assert "skipped: 1 x " in shown
    assert "a.jsonl:2" in shown


def test_check_describes_a_model(model, tmp_path, capsys):
    assert lacy("data", "check", model) == 0
    shown = capsys.readouterr().out
    assert "id 399, the last" in shown
    weights = (model / "model.safetensors").read_bytes()
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert lacy("data", "check", broken) == 3
    assert capsys.readouterr().err.startswith("[E56]")


def test_check_recognizes_what_it_is_given(packed, world, model, capsys):
    parts = ("tokens in 54 documents", "Texts of", "The model is complete")
    for path, part in zip((packed, world / "valid.jsonl", model), parts, strict=True):
        assert lacy("data", "check", path) == 0
        assert part in capsys.readouterr().out
    assert lacy("data", "check", model, "--what", "texts") == 0
    assert "Texts of" in capsys.readouterr().out


# ------------------------------------------------------------------------ generate, evaluate


@pytest.mark.slow
def test_generate_shows_and_writes_provenance(model, world, tmp_path, capsys):
    argv = ["generate", model, "Ada", "--max-new-tokens", 8, "--source", world]
    assert lacy(*argv, "--policy", "always", "--show", "--out", tmp_path / "a.jsonl") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Ada")
    assert "call rate" in shown
    assert "truth.sqlite" in shown
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["spans"][0]["text"] == "Ada"


def test_generate_reads_lines_and_says_which_policy_it_uses(model, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Ada\n\nBert\n"))
    assert lacy("generate", model, "--max-new-tokens", 3) == 0
    captured = capsys.readouterr()
    assert "Policy: never call" in captured.err
    assert "\nBert" in captured.out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert lacy("generate", model) == 2
    assert "standard input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--policy", "sometimes"], "[E61]"),
        (["--policy", "buget=0.2"], "did you mean 'budget'?"),
        (["--policy", "budget=0.2,by=entropi"], "by=entropi is not a signal (margin, entropy"),
        (["--unit", "valeu"], "did you mean 'value'?"),
        (["--source", "nowhere.sqlite"], "[E65]"),
        (["--source", "nonsense"], "it is not a source"),
        (["--max-new-tokens", "0"], "[E12]"),
    ],
)
def test_generate_names_mistakes(model, flags, part, capsys):
    assert lacy("generate", model, "Ada", *flags) in (2, 3, 4)
    assert part in capsys.readouterr().err


def test_evaluate_refuses_a_limit_that_it_would_ignore(model, world, capsys):
    assert lacy("evaluate", model, "--world", world, "--limit", 3) == 2
    assert "--tasks only" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_in_a_world(model, world, tmp_path, capsys):
    argv = ["evaluate", model, "--world", world, "--people", 6, "--max-new-tokens", 12]
    assert lacy(*argv, "--out", tmp_path / "results.json") == 0
    shown = capsys.readouterr().out
    for part in (
        "facts right",
        "random=0.22",
        "AUROC, margin",
        "closed-book recall",
        "over 6 people",
    ):
        assert part in shown
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["conditions"]) == {"never", "random=0.22", "budget=0.22"}
    assert results["environment"]["packages"]["torch"]


def test_evaluate_needs_one_truth(model, world, tmp_path, capsys):
    assert lacy("evaluate", model) == 2
    assert "--articles" in capsys.readouterr().err
    assert lacy("evaluate", model, "--world", world, "--articles", tmp_path) == 2


def test_sources_and_policies_are_opened_by_name(world, tmp_path):
    with open_source(str(world)) as database:
        assert database.name == "truth.sqlite"
    with pytest.raises(LacyError):
        open_source(str(tmp_path))
    assert split_policy("runs/mine:budget=0.22") == ("runs/mine", "budget=0.22")
    assert split_policy("runs/mine") == ("runs/mine", None)
    assert split_policy(str(world)) == (str(world), None)
    assert str(default_policy(None, None)[0]) == "never"


def test_the_default_policy_follows_what_the_model_was_taught(world):
    def meta(**settings):
        return {"training": {"settings": {"method": "lacy", "text_weight": 0.7, **settings}}}

    with open_source(str(world)) as database:
        chosen = {
            name: str(default_policy(database, meta(call_negative=name))[0])
            for name in ("none", "softmax", "sigmoid")
        }
        plain = default_policy(database, meta(method="none", call_negative="softmax"))
        assert str(plain[0]) == str(default_policy(database, {})[0]) == "budget=0.22"
        assert "text-weight 0" in ranking_warning(database, meta(text_weight=0.0))
        assert ranking_warning(database, meta()) == ranking_warning(database, {}) == ""
    assert chosen == {"none": "budget=0.22", "softmax": "threshold=0", "sigmoid": "threshold=0"}
    assert ranking_warning(None, meta(text_weight=0.0)) == ""


def test_values_are_shown_for_people():
    shown = [format_value(value) for value in (None, True, False, 12345, 0.123456, "x")]
    assert shown == ["-", "yes", "no", "12,345", "0.1235", "x"]


def test_a_live_judge_needs_a_model(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "Ada was born in 1815."}\n')
    argv = ["data", "mark", tmp_path / "a.jsonl", "--annotator", "live", "--out", tmp_path / "p"]
    assert lacy(*argv, "--vocab-size", 300) == 2
    assert "--judge.model NAME" in capsys.readouterr().err


def test_spacy_marks_are_kept_beside_the_data_and_used_again(tmp_path, capsys):
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "GPE", "pattern": "London"}])
    pipeline.to_disk(tmp_path / "pipeline")
    (tmp_path / "a.jsonl").write_text('{"text": "Ada lived in London in 1840."}\n' * 5)
    argv = ["data", "mark", tmp_path / "a.jsonl", "--out", tmp_path / "p", "--vocab-size", 300]
    argv += ["--pipeline", tmp_path / "pipeline", "--context", 64]
    assert lacy(*argv, "--dry-run") == 0
    assert not (tmp_path / "p").exists()
    assert lacy(*argv) == 0
    shown = capsys.readouterr()
    assert "marked ENTITY" in shown.out
    assert "'proper_nouns' finds nothing" in shown.err
    stored = sorted((tmp_path / "p-marks").iterdir())
    before = {path: path.stat().st_mtime_ns for path in stored}
    assert lacy(*argv, "--context", 32) == 0
    assert {path: path.stat().st_mtime_ns for path in stored} == before
    assert lacy(*argv, "--no-rules.entities") == 2
    assert capsys.readouterr().err.splitlines()[-2].startswith("[E33]")


def test_the_default_of_calibrate_is_the_engines():
    assert options.CALIBRATION_TEXTS == CALIBRATION_TEXTS
