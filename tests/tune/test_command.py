"""`lacy tune` as it is typed."""

import json
from dataclasses import replace

import pytest

from helpers import pages
from lacy.corpus import write_documents


def lacy(*argv):
    return pages.lacy(*map(str, argv))


@pytest.fixture
def texts(articles, tmp_path):
    write_documents(articles, tmp_path / "articles.jsonl")
    return tmp_path / "articles.jsonl"


def test_the_steps_the_tables_and_the_next_lines(raw_folder, texts, tmp_path, capsys):
    out = tmp_path / "gate"
    assert lacy("tune", raw_folder, "--data", texts, "--out", out) == 0
    shown = capsys.readouterr()
    for step in ("Model", "Articles", "Hidden states", "Fit", "Save"):
        assert f"{step} (" in shown.err
    assert "last two words" in shown.out and "gate" in shown.out
    *_, first, second = shown.out.splitlines()
    assert first.startswith(f"Next: lacy generate {out}")
    assert second.strip().startswith(f"lacy serve {out}")
    meta = json.loads((out / "lacy.json").read_text())["tune"]
    assert meta["figures"]["articles"] == 24
    capsys.readouterr()
    assert lacy("generate", out, "Person Aell1 was born in", "--max-new-tokens", 4) == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--depth", "rwo"], "row"),
        (["--target", "wehre"], "where"),
        (["--articles", "0"], "E12"),
        (["--call-rate", "2", "--target", "value"], "E12"),
    ],
)
def test_a_mistake_gets_a_hint(flags, expected, raw_folder, texts, tmp_path, capsys):
    assert lacy("tune", raw_folder, "--data", texts, "--out", tmp_path / "o", *flags) == 2
    assert expected in capsys.readouterr().err


def test_only_the_chosen_articles_are_read(raw_folder, articles, tmp_path, capsys):
    rows = [replace(a, meta={"is_biography": n % 4 > 0}) for n, a in enumerate(articles)]
    write_documents(rows, tmp_path / "a.jsonl")
    argv = ["tune", raw_folder, "--data", tmp_path / "a.jsonl", "--out", tmp_path / "gate"]
    assert lacy(*argv, "--only", "is_biography") == 0
    meta = json.loads((tmp_path / "gate" / "lacy.json").read_text())["tune"]
    assert meta["figures"]["articles"] == 18
    assert lacy(*argv[:-1], tmp_path / "other", "--only", "is_biografy") == 2
    assert "E12" in capsys.readouterr().err


def test_packed_data_have_no_fields(raw_folder, texts, tmp_path, capsys):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "lacy_data.json").write_text("{}")
    argv = ["tune", raw_folder, "--data", tmp_path / "packed", "--out", tmp_path / "gate"]
    assert lacy(*argv, "--only", "is_biography") == 2
    assert "packed data have no fields" in capsys.readouterr().err


def test_data_are_required(raw_folder, capsys):
    assert lacy("tune", raw_folder) == 2
    assert "--data" in capsys.readouterr().err


def test_no_such_data(raw_folder, tmp_path, capsys):
    assert lacy("tune", raw_folder, "--data", tmp_path / "none", "--out", tmp_path / "o") == 2
    assert "E13" in capsys.readouterr().err
