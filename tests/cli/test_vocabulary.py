"""``lacy vocabulary`` and the flag --vocabulary of commands that generate."""

import json

import pytest


def texts(folder):
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    path = folder / "pairs.jsonl"
    lines = [json.dumps({"q": r["text"][:40], "a": r["text"], "n": 1}) + "\n" for r in rows]
    path.write_text("".join(lines))
    return path


def test_a_vocabulary_is_built_shown_checked_and_used(workspace, tmp_path, capsys):
    lacy, model, pairs = workspace.lacy, workspace.model, texts(workspace.world)
    out = tmp_path / "task.json"
    argv = ["--data", pairs, "--input-field", "q", "--output-field", "a", "--limit", 8]
    assert lacy("vocabulary", "build", model, *argv, "--scripts", "Latin", "--out", out) == 0
    shown = capsys.readouterr()
    assert "of 400" in shown.out and "Latin" in shown.out
    assert f"lacy vocabulary check {model} --vocabulary {out}" in shown.err
    assert lacy("vocabulary", "show", out, "--model", model) == 0
    assert "Some of its tokens" in capsys.readouterr().out
    figures = tmp_path / "figures.json"
    check = ["vocabulary", "check", model, *argv, "--limit", 3, "--tokens", 20]
    assert lacy(*check, "--vocabulary", out, "--mode", "static", "--out", figures) == 0
    shown = capsys.readouterr().out
    assert "static" in shown and "likeliest token is active" in shown
    data = json.loads(figures.read_text())
    assert data["figures"]["mode"] == "static" and data["sizes"]["tokens"] == 400
    assert lacy(*check) == 0
    assert "dynamic" in capsys.readouterr().out

    prompt = ["generate", model, "Emil", "--max-new-tokens", 8]
    assert lacy(*prompt) == 0
    wanted = capsys.readouterr().out
    for vocabulary in (out, "dynamic", "context"):
        assert lacy(*prompt, "--vocabulary", vocabulary) == 0
        shown = capsys.readouterr()
        assert shown.out == wanted and "Vocabulary:" in shown.err
    assert lacy(*prompt, "--vocabulary", "dynamic", "--fallback", "off") == 0
    evaluate = ["evaluate", model, "--world", workspace.world, "--people", 2, "--calibrate", 0]
    assert lacy(*evaluate, "--max-new-tokens", 4, "--policies", "never", "--vocabulary", out) == 0


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["generate", "MODEL", "x", "--vocabulary", "none.json"], 2, "E13"),
        (["generate", "MODEL", "x", "--vocabulary", "broken.json"], 3, "E270"),
        (["generate", "MODEL", "x", "--vocabulary", "other.json"], 3, "E271"),
        (["generate", "MODEL", "x", "--vocabulary", "dynamic", "--fallback", "some"], 2, "E12"),
        (["generate", "MODEL", "x", "--vocabulary", "dynamic", "--fallback", "7"], 2, "E12"),
        (["evaluate", "MODEL", "--texts", "a.jsonl", "--vocabulary", "dynamic"], 2, "check"),
        (["vocabulary", "build", "MODEL", "--data", "empty.jsonl", "--out", "o"], 3, "E272"),
        (["vocabulary", "build", "MODEL", "--data", "a.jsonl", "--scripts", "Lat"], 2, "E"),
        (
            [
                "vocabulary",
                "build",
                "MODEL",
                "--data",
                "a.jsonl",
                "--input-field",
                "q",
                "--out",
                "o",
            ],
            3,
            "--input-field NAME",
        ),
        (
            [
                "vocabulary",
                "build",
                "MODEL",
                "--data",
                "a.jsonl",
                "--output-field",
                "q",
                "--out",
                "o",
            ],
            3,
            "--output-field NAME",
        ),
    ],
)
def test_mistakes_are_explained(argv, code, words, workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "a.jsonl").write_text('{"text": "Ada lived."}\n')
    (tmp_path / "empty.jsonl").write_text('{"text": "Ada", "in": null}\n')
    other = {"format": "lacy vocabulary 1", "tokenizer": "x", "size": 9, "made": {}, "ids": [1]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    typed = [str(workspace.model) if word == "MODEL" else word for word in argv]
    typed += ["--input-field", "in"] * ("empty.jsonl" in typed)
    assert workspace.lacy(*typed) == code
    assert words in capsys.readouterr().err
