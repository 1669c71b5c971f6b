"""``lacy evaluate`` without a judge: audits, recall, people's lives; as typed."""

import json

import pytest

from helpers import pages as typed
from helpers.raw import raw_llama, save_raw
from lacy.almanac import Subject, write_facts

PEOPLE = [Subject(name, "person", {"born": year, "birth place": place}) for name, year, place in
          [("Ann Bell", "1901", "Oslo"), ("Bob Hill", "1920", "Rome")]]  # fmt: skip
PAGES = [
    {
        "title": "Ann Bell",
        "text": "Ann Bell (born 1901) is a Danish smith. She met Bob Hill in Oslo.",
    },
    {"title": "Ann Bell", "text": "Ann Bell (born 1902) is a Danish smith."},
]


def lacy(*argv):
    return typed.lacy(*map(str, argv))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_raw(tmp_path_factory.mktemp("raw") / "model", raw_llama(context=600)))


@pytest.fixture
def facts(tmp_path):
    return write_facts(tmp_path / "facts.sqlite", PEOPLE)


def test_an_audit_of_a_database_is_printed_written_and_continued(model, facts, tmp_path, capsys):
    out = tmp_path / "audit.json"
    argv = ("evaluate", model, "--audit", facts, "--people", 2, "--max-new-tokens", 4, "--out", out)
    assert lacy(*argv) == 0
    first = capsys.readouterr()
    assert "Deletion audit" in first.out and "2 facts of 1 database" in first.err
    data = json.loads(out.read_text())
    assert {"audit_full", "audit_deleted", "audit_off"} <= {r["metric"] for r in data["results"]}
    answers = out.with_suffix(".answers.jsonl")
    stored = answers.read_text()
    assert lacy(*argv) == 0
    assert (
        answers.read_text() == stored and json.loads(out.read_text())["results"] == data["results"]
    )


@pytest.mark.parametrize(
    ("name", "text", "code"), [("a.tar.gz", "x", "E234"), ("notes", None, "E235")]
)
def test_a_mistake_gives_one_message(model, tmp_path, capsys, name, text, code):
    path = tmp_path / name
    path.mkdir() if text is None else path.write_text(text)
    assert lacy("evaluate", model, "--audit", path) in (2, 3)
    shown = capsys.readouterr().err
    assert f"[{code}]" in shown and "Do: give a folder" in shown and "Traceback" not in shown


def test_articles_get_recall_lives_and_a_count_of_repeated_pages(model, facts, tmp_path, capsys):
    pages = tmp_path / "pages.jsonl"
    pages.write_text("".join(json.dumps(page) + "\n" for page in PAGES))
    out = tmp_path / "pages.json"
    argv = ["evaluate", model, "--articles", pages, "--policies", "never", "--max-new-tokens", 8]
    assert lacy(*argv, "--pipeline", "bundled", "--people-facts", facts, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "by length" in shown and "repeated articles: 1 of 2" in shown
    found = {r["metric"]: r for r in json.loads(out.read_text())["results"]}
    assert found["page_recall"]["n"] == 2 and found["people_unknown"]["value"] == 0


def test_facts_about_people_must_be_a_database(model, tmp_path, capsys):
    pages = tmp_path / "pages.jsonl"
    pages.write_text(json.dumps(PAGES[0]) + "\n")
    argv = ("evaluate", model, "--articles", pages, "--policies", "never")
    assert lacy(*argv, "--pipeline", "bundled", "--people-facts", model) == 2
    assert "--people-facts facts.sqlite" in capsys.readouterr().err
