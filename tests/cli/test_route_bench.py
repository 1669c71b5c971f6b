"""``lacy route bench``."""

import json

import pytest

from lacy.cli import main


def write_cases(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def requests(source):
    openings = {"code": "write a function that sorts", "talk": "hello, how are you"}
    return [{"text": f"{openings[route]} {source} {number}", "route": route, "source": source}
            for route in openings for number in range(5)]  # fmt: skip


def test_heads_are_measured_and_a_page_is_written(tmp_path, capsys):
    data = write_cases(tmp_path / "cases.jsonl", requests("north") + requests("south"))
    argv = ["route", "bench", str(data), "--heads", "length", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "Other sources: 20 texts" in shown.out
    assert "Same sources: 20 texts" in shown.out
    assert "constant" in shown.out
    assert "length, other sources: north" in shown.err
    assert (tmp_path / "out" / "report.html").exists()
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["kind"] == "classes"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--heads", "long"], "head"),
        (["--folds", "1"], "folds"),
        (["--cost", "large"], "NAME=NUMBER"),
        (["--cost", "large=-1"], "NAME=NUMBER"),
        (["--cost", "nobody=1"], "E374"),
        (["--router", "none"], "E372"),
    ],
)
def test_mistakes_are_explained(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_cases(tmp_path / "cases.jsonl", requests("north"))
    assert main(["route", "bench", "cases.jsonl", *argv]) in (2, 3)
    assert words in capsys.readouterr().err
