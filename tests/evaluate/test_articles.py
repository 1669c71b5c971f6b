"""Held-out articles as source and judge: prompts, values, openings, conditions, the verb."""

import json
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.cascade import truncate_document
from lacy.cli import main
from lacy.evaluate.article_sources import (
    article_prompt,
    article_prompts,
    article_subject,
    mark_values,
    write_values,
)
from lacy.evaluate.articles import calibrate_on, evaluate_articles
from lacy.results import as_data
from lacy.testing import byte_tokenizer, scripted
from lacy.types import Document, Mark

VALUE = re.compile(r"\b(?:[12]\d{3}|[A-Z]\w+(?: [A-Z]\w+)*)\b")
TOKENIZER = byte_tokenizer()


def extract(texts):
    """Years and capitalised words."""
    return [
        [
            Mark(m.start(), m.end(), "DATE" if m.group().isdigit() else "ENTITY")
            for m in VALUE.finditer(text)
        ]
        for text in texts
    ]


def article(number, town="Oslo", born="1901"):
    name = f"Ann {'ABCDEFGHIJ'[number]}oe"
    text = f"{name} was born in {town} in {born}. Ann left {town} and saw Rome."
    return Document(str(number), text, {"title": name})


# ---------------------------------------------------------------------------- what is asked


def test_the_prompt_is_the_title_if_the_text_begins_with_it():
    assert article_prompt(article(0)) == "Ann Aoe"
    assert article_prompt(Document("1", "  One two three four five", {"title": "Other"})) == (
        "  One two three four"
    )
    assert article_prompt(Document("1", "One\ntwo")) == "One\ntwo"
    assert article_prompt(Document("1", "")) == ""


def test_subjects_with_the_same_name_are_distinct():
    one, two = (Document(i, "Ann Lee", {"title": "Ann Lee"}) for i in "ab")
    assert article_subject(one) != article_subject(two)
    assert article_subject(Document("a", "text")) == "a"


# ------------------------------------------------------------------------------- the values


def test_values_occur_once_and_those_of_the_prompt_do_not_count():
    (found,) = mark_values([article(0)], extract)
    assert [found.text[m.start : m.end] for m in found.marks] == ["Oslo", "1901", "Rome"]
    assert found.text.index("Oslo") == found.marks[0].start  # where it stands first


def test_content_words_are_not_values():
    def content(texts):
        return [[Mark(0, 3, "CONTENT"), Mark(12, 13, "ENTITY")] for _ in texts]

    (found,) = mark_values([Document("1", "nice weather. Rome")], content)
    assert found.marks == ()


def test_the_database_contains_the_values_by_kind(tmp_path):
    (found,) = mark_values([article(0)], extract)
    path = tmp_path / "values.sqlite"
    write_values(path, [(article_subject(found), found.text, found.marks)])
    rows = sqlite3.connect(path).execute("SELECT * FROM fact").fetchall()
    subject = "Ann Aoe (0)"
    assert sorted(rows) == [
        (subject, "DATE", "1901"),
        (subject, "ENTITY", "Oslo"),
        (subject, "ENTITY", "Rome"),
    ]


# ----------------------------------------------------------------------------- the opening


@given(st.text("ab Zé1 ", max_size=60), st.integers(4, 80))
def test_an_opening_fits_the_context_and_cuts_no_mark(text, length):
    document = Document("1", text, marks=tuple(extract([text])[0]))
    cut = truncate_document(document, TOKENIZER, length)
    assert text.startswith(cut.text)
    assert len(TOKENIZER(cut.text)["input_ids"]) + 2 <= length or cut == document
    assert len(TOKENIZER(cut.text)["input_ids"]) + 2 <= length
    assert set(cut.marks) <= set(document.marks)
    for mark in document.marks:
        whole = mark.end <= len(cut.text)
        assert whole == (mark in cut.marks)
        assert whole or mark.start >= len(cut.text)


@given(st.text("ab Zé1 ", min_size=1, max_size=60), st.integers(1, 12))
def test_a_prompt_of_some_words_is_a_beginning_and_cuts_no_value(text, words):
    (prompt,) = article_prompts([Document("1", text)], extract, words)
    assert text.startswith(prompt)
    if text.split():
        assert 0 < len(prompt.split()) <= min(words, max(1, len(text.split()) // 2))
        cut = [m for m in extract([text])[0] if m.start < len(prompt) < m.end]
        assert not cut or not text[: cut[0].start].strip()  # the text begins with this value


# ------------------------------------------------------------------------ conditions


def speak(text):
    """The same sentence about everybody, with a town of its own."""
    said = text[len("Ann Aoe") :]
    sentence = " was born in Paris."
    return sentence[len(said)] if sentence.startswith(said) and said != sentence else ""


LOADED = scripted(speak, lambda text: text.endswith("born in"), context=200)
ARTICLES = [article(0, "Oslo"), article(1, "Lima"), article(2, "Bonn")]


def test_calls_chosen_by_the_model_return_values_of_the_article():
    others = [article(n, "Turin") for n in range(3, 9)]
    usual = calibrate_on(LOADED, others, extract)
    conditions = evaluate_articles(
        LOADED, ARTICLES, extract, ["never", "threshold=0"], calibration=usual
    ).conditions
    alone, cascade = conditions["never"], conditions["threshold=0"]
    assert (alone.counts["entities"].sum(), alone.counts["supported"].sum()) == (3, 0)
    assert alone.call_rate == 0.0
    assert cascade.scores["borrowed_entities_right"].value == 1.0
    assert cascade.scores["borrowed_entities_right"].n == 3
    assert 0 < cascade.call_rate < 1
    for found, answer in zip(mark_values(ARTICLES, extract), cascade.answers, strict=True):
        (span,) = [span for span in answer.spans if span.asked]
        assert span.speaker == "article"
        assert span.text.strip() in {found.text[m.start : m.end] for m in found.marks}
    assert json.dumps(as_data(cascade))


def test_policies_can_have_names():
    conditions = evaluate_articles(LOADED, ARTICLES, extract, {"alone": "never"}).conditions
    assert conditions["alone"].policy == "never"


def test_long_articles_can_calibrate():
    texts = [article(n, town="Oslo", born=str(1900 + n)) for n in range(10)]
    long = [Document(d.id, d.text + " and so on" * 40, d.meta) for d in texts]
    made = calibrate_on(LOADED, long, extract)  # 400 letters and more, a context of 200
    assert made.kinds["DATE"].n >= 5
    assert made.kinds["ENTITY"].n >= 5
    assert len(made.signals["margin"]) > 100
    conditions = evaluate_articles(
        LOADED, ARTICLES, extract, ["budget=0.1"], calibration=made
    ).conditions
    assert conditions["budget=0.1"].policy.startswith("budget=0.1")


# ---------------------------------------------------------------------------------- the verb


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from lacy.corpus import train_tokenizer
    from lacy.model import build_model, save_model

    tokenizer = train_tokenizer([a.text for a in ARTICLES], 300)
    folder = tmp_path_factory.mktemp("model") / "m"
    save_model(folder, build_model("tiny", tokenizer, context=64, seed=0, layers=1), tokenizer, {})
    return folder


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "articles.jsonl"
    rows = [article(n) for n in range(10)]
    lines = [
        json.dumps({"id": d.id, "text": d.text, "title": d.meta["title"], "odd": n % 2 == 1})
        for n, d in enumerate(rows)
    ]
    path.write_text("\n".join(lines))
    return path


def test_the_command_calibrates_on_other_articles(model, file, tmp_path, capsys):
    out = tmp_path / "found.json"
    flags = ["--pipeline", "bundled", "--only", "odd", "--max-new-tokens", "12"]
    argv = ["evaluate", str(model), "--articles", str(file), *flags, "--out", str(out)]
    assert main([*argv, "--people", "2", "--policies", "never", "budget=0.3"]) == 0
    shown = capsys.readouterr()
    assert "Calibration: on 3 other articles" in shown.err
    assert "over 2 articles" in shown.out
    found = json.loads(out.read_text())
    assert found["articles"] == 2
    assert set(found["conditions"]) == {"never", "budget=0.3"}
    assert main([*argv, "--policies", "never"]) == 0
    assert "Calibration: none" in capsys.readouterr().err
    assert main([*argv, "--policies", "never", "--calibrate", "0"]) == 0
    assert "Calibration" not in capsys.readouterr().err


def test_the_articles_can_be_searched_as_documents():
    found = evaluate_articles(
        LOADED, ARTICLES, extract, ["threshold=0"], source="documents", abstain=None
    )
    answers = found.conditions["threshold=0"].answers
    called = [span for answer in answers for span in answer.spans if span.asked]
    assert {span.speaker for span in called} == {"articles"}
    assert {r.conditions["source"] for r in found.results()} == {"documents"}


def test_without_a_source_nothing_is_called():
    found = evaluate_articles(LOADED, ARTICLES, extract, ["never"], source="", prompt_words=2)
    (answers,) = [c.answers for c in found.conditions.values()]
    assert [answer.prompt for answer in answers] == ["Ann Aoe", "Ann Boe", "Ann Coe"]
    assert not any(answer.calls for answer in answers)
