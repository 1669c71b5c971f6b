"""``lacy decide fit`` and ``lacy decide ask``."""

import json

import pytest

from helpers.encoders import write_bert
from helpers.raw import raw_llama, save_raw
from helpers.toy_decisions import write_decisions
from helpers.toy_safety import WORDS
from lacy.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decide")
    write_decisions(folder)
    (folder / "encoder").mkdir()
    write_bert(folder / "encoder", WORDS)
    save_raw(folder / "model", raw_llama(context=512))
    return folder


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def ask(*more):
    return main(["decide", "ask", *more, "--state", "the cat song", "--question", "which is it"])


def test_fit_and_ask_with_an_encoder(inside, capsys):
    assert main(["decide", "fit", "decisions.jsonl", "--encoder", "encoder", "--out", "head",
                 "--check", "others.jsonl"]) == 0  # fmt: skip
    shown = capsys.readouterr()
    assert "held out" in shown.out and "others" in shown.out
    assert "lacy decide ask head" in shown.err
    assert ask("head", "--option", "cat", "--option", "cake=a cake", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["type"] == "choice" and set(told["probabilities"]) == {"cat", "cake"}
    assert ask("head", "--level", "cat", "--level", "cake") == 0
    assert "likeliest" in capsys.readouterr().out
    assert ask("head", "--sure", "1") == 0
    assert "unknown" in capsys.readouterr().out


def test_fit_and_ask_with_a_model(inside, capsys):
    assert main(["decide", "fit", "decisions.jsonl", "--model", "model", "--layer", "1", "--out",
                 "states"]) == 0  # fmt: skip
    assert "--model model" in capsys.readouterr().err
    assert ask("states", "--model", "model") == 0
    assert ask("model") == 0  # by its likelihoods
    assert "yes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["head", "--option", "a", "--level", "b"], "E12"),
        (["head", "--option", "a", "--option", "a"], "E380"),
        (["head", "--sure", "2"], "E12"),
        (["encoder", "--model", "model"], "E383"),
    ],
)
def test_mistakes(inside, capsys, words, code):
    assert ask(*words) in (2, 3)
    assert f"[{code}]" in capsys.readouterr().err


def test_mistakes_of_fitting(inside, capsys):
    for words, code in ((["--layer", "1"], "E12"), (["--held-out", "2"], "E12")):
        assert main(["decide", "fit", "decisions.jsonl", "--out", "x", *words]) == 2
        assert f"[{code}]" in capsys.readouterr().err
