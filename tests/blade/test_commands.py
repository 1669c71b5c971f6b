"""The commands, from a table to an answer."""

import json

import pytest

from helpers.black_box import black_box_server
from helpers.pages import lacy

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")


@pytest.fixture
def server(read_prompt):
    def reply(text):
        _, knowledge = read_prompt(text)
        return knowledge[0].rstrip(".").split()[-1] if knowledge else "none"

    with black_box_server(reply) as running:
        yield running


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metals.csv").write_text("name,symbol\nTin,Sn\nLead,Pb\nGold,Au\n")
    return tmp_path


@pytest.mark.slow
def test_from_a_table_to_an_answer(at, server, small, capsys):
    box = ["--black-box", f"{server.url}#large"]
    assert lacy("blade", "triples", "metals.csv", "--out", "plain.jsonl") == 0
    assert "3 triples, not filtered" in capsys.readouterr().out
    assert lacy("blade", "triples", "metals.csv", "--out", "triples.jsonl", *box) == 0
    assert "3 kept, 0 answered wrong" in capsys.readouterr().out
    asked = len(server.bodies)
    assert lacy("blade", "triples", "metals.csv", "--out", "triples.jsonl", *box) == 0
    assert len(server.bodies) == asked
    lines = [json.loads(line) for line in (at / "triples.jsonl").read_text().splitlines()]
    (at / "texts.jsonl").write_text(
        "".join(json.dumps({"text": line["knowledge"], "title": line["subject"]}) + "\n"
                for line in lines)
    )  # fmt: skip
    assert lacy("blade", "pretrain", str(small), "--data", "texts.jsonl", "--out", "domain",
                "--epochs", "1", "--context", "64", "--device", "cpu", "--threads", "1",
                "--quiet") == 0  # fmt: skip
    assert lacy("blade", "tune", "domain", "--triples", "triples.jsonl", "--out", "writer",
                "--epochs", "1", "--lora-rank", "2") == 0  # fmt: skip
    assert "Next: lacy blade optimise writer" in capsys.readouterr().err
    assert lacy("blade", "optimise", "writer", "--questions", "triples.jsonl", "--out", "blade",
                "--evaluations", "2", "--start", "2", "--max-tokens", "6", *box) == 0  # fmt: skip
    assert "without a soft prompt" in capsys.readouterr().out
    assert lacy("source", "build", "texts.jsonl", "--out", "index") == 0
    assert lacy("blade", "ask", "blade", "What is the symbol of Tin?", "--documents", "index",
                "--knowledge", "both", *box) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "retrieval (" in shown and "answered by http" in shown
    assert lacy("blade", "check", "blade", "triples.jsonl", "--out", "figures.json", *box) == 0
    assert "more than alone" in capsys.readouterr().out
    figures = json.loads((at / "figures.json").read_text())["figures"]
    assert figures["none"]["right"]["value"] == 0.0
    assert "answers" not in figures["none"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["triples", "metals.csv", "--out", "t.jsonl", "--dev", "2", "--test", "1"], "E12"),
        (["triples", "metals.csv", "--out", "t.jsonl", "--dev", "-3"], "E12"),
        (["triples", "metals.csv", "--out", "t.jsonl", "--options", "-2"], "E12"),
        (["triples", "metals.csv", "--out", "t.jsonl", "--kind", "model"], "E396"),
        (["tune", "small", "--triples", "metals.csv"], "E390"),
        (["triples", "metals.csv", "--out", "t.jsonl", "--templates", "none.json"], "E13"),
        (["triples", "metals.csv", "--out", "t.jsonl", "--templates", "metals.csv"], "E12"),
        (["ask", "x", "Why?", "--black-box", "http://127.0.0.1:9/v1#x", "--knowledge",
          "retrieval"], "E397"),
        (["ask", "x", "Why?", "--black-box", "large", "--knowledge", "none"], "E396"),
        (["ask", "x", "Why?", "--black-box", "http://127.0.0.1:9/v1#x", "--knowledge", "none",
          "--timeout", "0.5"], "E393"),
        (["ask", "x", "Why?", "--black-box", "http://h/v1#x", "--max-cost", "1"], "E12"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(at, words, code, capsys):
    assert lacy("blade", *words) != 0
    assert f"[{code}]" in capsys.readouterr().err


def test_a_table_without_names_says_which_flag_names_them(at, capsys):
    assert lacy("blade", "triples", "metals.csv", "--out", "t.jsonl", "--subject-field", "n") == 3
    shown = capsys.readouterr().err
    assert "no field 'n'" in shown and "--subject-field NAME" in shown


def test_a_base_model_is_asked_with_text(at, server, capsys):
    box = ["--black-box", f"{server.url}#base", "--style", "text", "--max-requests", "2"]
    assert lacy("blade", "triples", "metals.csv", "--out", "t.jsonl", *box) != 0
    assert "[E392]" in capsys.readouterr().err
    assert all("prompt" in body for body in server.bodies)
    assert len(server.bodies) == 2


def test_triples_are_set_aside_at_random(at, capsys):
    wanted = ["triples", "metals.csv", "--out", "t.jsonl", "--dev", "1", "--test", "1"]
    assert lacy("blade", *wanted) == 0
    names = ("t.jsonl", "t.dev.jsonl", "t.test.jsonl")
    ids = [json.loads((at / name).read_text())["question"] for name in names]
    assert len({*ids}) == 3
    assert capsys.readouterr().out.count("Written") == 3
