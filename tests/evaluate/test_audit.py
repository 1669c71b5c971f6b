"""The deletion audit: reading the data, deleting in copies only, verdicts, and going on."""

import json
import re
import sqlite3
import tarfile
from contextlib import closing

import pytest

from lacy.almanac import Subject, write_facts
from lacy.errors import LacyError
from lacy.evaluate import (
    AuditedDatabase,
    AuditFact,
    evaluate_audit,
    prompts_for,
    read_audit,
    states_value,
)
from lacy.evaluate.audit_asking import AuditQuestion, changed_rows
from lacy.results import AnswerStore
from lacy.testing import scripted

ROWS = [
    ["Ann Bell", "birth place", "Oslo"],
    ["A. Bell", "born in", "Oslo"],
    ["Bob Hill", "birth place", "Rome"],
    ["Cyd Ray", "birth place", "Bonn"],
]


def prompt_row(n, subject, relation, value, text, **more):
    return {
        "prompt_id": n, "fact_id": n, "subject": subject, "relation": relation,
        "gold_object": value, "prompt_text": text, **more,
    }  # fmt: skip


def write_data(folder, *, extra=(), forms=("direct_questions", "continuations")):
    (folder / "people" / "prompts" / "base").mkdir(parents=True)
    (folder / "people" / "base.json").write_text(json.dumps({"triplets": ROWS}))
    for form in forms:
        rows = [
            prompt_row(
                n, s, r, v, prompts_for(s, r)[form],
                subject_aliases=["A. Bell" if s == "Ann Bell" else "Ann Bell"] * ("Bell" in s),
                relation_aliases=["born in" if r == "birth place" else "birth place"],
            )
            for n, (s, r, v) in enumerate(ROWS)
        ]  # fmt: skip
        rows += extra
        file = folder / "people" / "prompts" / "base" / f"prompts_{form}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


def test_folder_archive_and_single_file_give_the_same(data, tmp_path):
    archive = tmp_path / "data.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(data, "data")
    [one] = read_audit(data)
    assert one.name == "people base" and one.rows == tuple(map(tuple, ROWS))
    assert [fact.prompts["continuations"] for fact in one.facts][2] == (
        "Tell me about Bob Hill. The birth place of Bob Hill is"
    )
    assert read_audit(archive) == [one] == read_audit(data / "people" / "base.json")


def test_unusable_prompts_are_counted(tmp_path):
    extra = [
        prompt_row(9, "Dee Fox", "birth place", "Ulm", "Where was Dee Fox born?"),
        prompt_row(10, "Bob Hill", "birth place", "Rome", " "),
        prompt_row(11, "Bob Hill", "birth place", "Rome", "And again?"),
    ]
    [found] = read_audit(write_data(tmp_path / "data", extra=extra, forms=["cloze"]))
    assert found.skipped == {
        "the fact is not in the database": 1, "the prompt is empty": 1,
        "a second prompt of the same form": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: (d / "people" / "base.json").write_text("{"), "E234"),
        (lambda d: (d / "people" / "base.json").write_text('{"triplets": [["a", "b"]]}'), "E234"),
        (lambda d: (d / "people/prompts/base/prompts_cloze.jsonl").write_text("[]\n"), "E234"),
        (lambda d: (d / "people" / "base.json").unlink(), "E235"),
    ],
)
def test_damaged_data_are_errors(tmp_path, damage, code):
    data = write_data(tmp_path / "data", forms=["cloze"])
    damage(data)
    with pytest.raises(LacyError) as caught:
        read_audit(data)
    assert caught.value.code == code


def test_an_archive_that_is_none(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    with pytest.raises(LacyError, match="E234"):
        read_audit(tmp_path / "x.tar.gz")


@pytest.mark.parametrize(
    ("text", "accepted", "states"),
    [
        ("It is in Oslo.", ["Oslo"], True),
        ("It is Oslofjord", ["Oslo"], False),
        ("the US dollar", ["U.S. Dollar", "US Dollar"], True),
        ("He lives in India", ["IN"], False),
        ("The code is IN.", ["IN"], True),
        ("The suffix is .in.", [".in"], True),
        ("He lives in India", [".in"], False),
        ("no one knows", ["NO", "Norway"], False),
        ("born in 12", ["12"], True),
        ("", ["Oslo"], False),
        ("Oslo", [], False),
    ],
)
def test_values_and_short_codes(text, accepted, states):
    assert states_value(text, accepted) is states


def test_all_rows_that_state_a_fact_are_deleted_or_edited_and_no_others(data):
    [found] = read_audit(data)
    question = AuditQuestion(found, found.facts[0], "continuations", "DEL-ON", "")
    assert changed_rows(question) == found.rows[2:]
    edited = changed_rows(question._replace(state="EDITED", new="Kiel"))
    assert {row[2] for row in edited[:2]} == {"Kiel"} and edited[2:] == found.rows[2:]
    assert changed_rows(question._replace(state="FULL")) == found.rows


def test_an_edited_value_is_another_subjects(data):
    [found] = read_audit(data)
    values = {found.other_value(fact) for fact in found.facts}
    assert found.other_value(found.facts[0]) in ("Rome", "Bonn") and None not in values
    assert found.other_value(found.facts[0]) == found.other_value(found.facts[0])
    alone = AuditedDatabase("one", (("Ann", "born", "Oslo"),), found.facts)
    assert alone.other_value(AuditFact("Ann", "born", "Oslo")) is None


def speak(text):
    last = re.split(" is(?: born in)?", text)[-1]
    rest = " Paris."
    return rest[len(last)] if rest.startswith(last) and last != rest else ""


@pytest.fixture
def loaded():
    return scripted(speak, lambda text: text.endswith((" is", " born in")), context=400)


def test_states_of_a_cascade(data, loaded, tmp_path):
    """A model that calls after "is" takes every fact from the rows, also an edited one."""
    databases = read_audit(data)
    path = tmp_path / "answers.jsonl"
    ask = {"forms": ["continuations"], "abstain": None, "max_new_tokens": 16}
    with AnswerStore(path) as store:
        found = evaluate_audit(loaded, databases, store=store, **ask)
        number = len(store)
    scores = {r.metric: r for r in found.results() if "group" not in r.conditions}
    assert scores["audit_full"].value == 1.0 and scores["audit_full"].n == 4
    assert scores["audit_edited"].value == 1.0 and scores["audit_edited_old"].value == 0.0
    assert scores["audit_deleted"].value == scores["audit_off"].value == 0.0
    assert found.outcomes["FULL"] == {"right, from a row": 4} and not found.leaks
    forms = {r.conditions.get("form") for r in found.results()}
    assert forms == {None, "continuations"}
    with AnswerStore(path) as store:  # nothing is asked again
        again = evaluate_audit(loaded, databases, store=store, **ask)
        assert len(store) == number
    assert again.results() == found.results()
    [units] = found.units()
    assert units.names[1] == "people base: A. Bell · born in · Oslo" and len(units.names) == 4
    assert "Oslo" in units.texts[0] and units.counts["full_right"].tolist() == [1, 1, 1, 1]


def test_what_leaks_is_named(tmp_path, loaded):
    rows = (("Ann Bell", "birth place", "Oslo"), ("Ann Bell", "residence", "Oslo"))
    prompts = {"continuations": "The birth place of Ann Bell is"}
    fact = AuditFact("Ann Bell", "birth place", "Oslo", prompts=prompts)
    given = AuditFact("Ann Bell", "residence", "Oslo", prompts={"continuations": "Oslo is"})
    audited = AuditedDatabase("one", rows, (fact, given))
    found = evaluate_audit(
        loaded, [audited], forms=["continuations"], abstain=None, max_new_tokens=16
    )
    [leak] = found.leaks
    assert "residence" in leak["row"] and leak["deleted"] == "Oslo"
    assert found.skipped["the prompt contains the value"] == 1
    assert found.skipped["no other value to edit the fact to"] == 1
    skipped = {r.conditions["group"]: r.value for r in found.results() if "skip" in r.metric}
    assert skipped == found.skipped


def test_any_facts_database_is_audited_and_not_changed(tmp_path, loaded):
    people = [
        Subject(name, "person", {"birth place": place})
        for name, place in [("Ann Bell", "Oslo"), ("Bob Hill", "Rome")]
    ]
    path = write_facts(tmp_path / "facts.sqlite", people)
    before = path.read_bytes()
    databases = read_audit(path, facts=1)
    assert len(databases[0].rows) == 2 and len(databases[0].facts) == 1
    found = evaluate_audit(loaded, databases, forms=["continuations"], abstain=None)
    assert found.outcomes["FULL"] == {"right, from a row": 1}
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE fact")
    with pytest.raises(LacyError, match="E67"):
        read_audit(path)


@pytest.mark.parametrize(
    ("relation", "question"),
    [
        ("birth_place", "What is the birth place of Ann?"),
        ("birthPlace", "What is the birth place of Ann?"),
        ("capital of", "What is Ann the capital of?"),
        ("located in", "What is Ann located in?"),
    ],
)
def test_prompts_are_made_from_names_of_relations(relation, question):
    prompts = prompts_for("Ann", relation)
    assert prompts["direct_questions"] == question
    assert prompts["fewshot_questions"].endswith(f"Question: {question}\nAnswer:")
    assert prompts["cloze"].endswith(" ____.")


def test_facts_of_a_large_database_are_changed_together(monkeypatch, data, loaded):
    monkeypatch.setattr("lacy.evaluate.audit_facts.LARGE", 3)
    [found] = read_audit(data)
    assert found.together
    result = evaluate_audit(
        loaded, [found], forms=["continuations"], abstain=None, max_new_tokens=16
    )
    scores = {r.metric: r.value for r in result.results() if "group" not in r.conditions}
    assert scores["audit_full"] == 1.0
    assert scores["audit_deleted"] == scores["audit_deleted_sourced"] == 0.0  # nothing is left
    edited = [a for a in result.answers if a.state == "EDITED"]
    assert len(edited) == 4 and sum(a.right for a in edited) >= 3


def test_a_hundred_thousand_rows_are_changed_quickly(data):
    rows = tuple((f"Person {n}", "born", str(n)) for n in range(100_000))
    fact = AuditFact("Person 7", "born", "7", prompts={"continuations": "Person 7 was born in"})
    audited = AuditedDatabase("big", rows, (fact,))
    question = AuditQuestion(audited, fact, "continuations", "EDITED", "x", ("x",))
    changed = changed_rows(question)
    assert changed[7] == ("Person 7", "born", "x") and len(changed) == len(rows)


def test_a_mapped_database_is_audited_under_all_names_of_its_subjects(tmp_path):
    with closing(sqlite3.connect(tmp_path / "people.sqlite")) as db, db:
        db.execute("CREATE TABLE person (name TEXT, pen_name TEXT, born TEXT)")
        people = [("Ann Bell", "A. Quill", "1901-05-02"), ("Bob Hill", None, "1920-01-01")]
        db.executemany("INSERT INTO person VALUES (?, ?, ?)", people)
    mapping = tmp_path / "people.yaml"
    mapping.write_text(
        "database: people.sqlite\nsubject: person.name\naliases: [person.pen_name]\n"
        "relations:\n  birth date: {value: person.born, date: ['%-d %B %Y', '%B %-d, %Y']}\n"
    )
    [found] = read_audit(mapping)
    fact = next(fact for fact in found.facts if fact.subject == "Ann Bell")
    assert fact.subjects == ("A. Quill",)
    assert fact.accepted == ("2 May 1901", "May 2, 1901")
    question = AuditQuestion(found, fact, "continuations", "DEL-ON", "")
    assert {row[0] for row in changed_rows(question)} == {"Bob Hill"}


@pytest.mark.parametrize("name", ["facts.jsonl", "notes.txt", "facts"])
def test_a_file_that_is_no_database_is_named_as_data_of_an_audit(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(LacyError) as caught:
        read_audit(tmp_path / name)
    assert caught.value.code == "E234"
