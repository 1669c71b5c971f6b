"""Texts as a source on real indexes: passages, values with their places, changes, commands."""

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.sources import Source, guarded
from lacy.sources.texts import BuildReport, Documents, marked_values
from lacy.sources.texts.passages import LONGEST_PASSAGE, split_passages
from lacy.sources.texts.subjects import first_name
from lacy.types import Document, Mark, Request
from lacy.world import make_world

WORLD = make_world(40, 3, prose=0.5)


def marked(text, *values, id="a", title=None, **relations):
    """A document whose given values are marked where they stand first."""
    pairs = [(value, None) for value in values] + [(v, r) for r, v in relations.items()]
    found = sorted(
        Mark(text.index(v), text.index(v) + len(v), "VALUE" if r else "ENTITY", r) for v, r in pairs
    )
    return Document(id, text, {"title": title} if title else {}, tuple(found))


ADA = marked(
    "Ada Vell was born in Łódź on 3 May 1901. She studied optics.\n\nLater she moved to Ulm.",
    id="ada", title="Ada Vell", place="Łódź", date="3 May 1901", field="optics", town="Ulm",
)  # fmt: skip
TOM = marked("Tom Brill, born in Rome, met Ada Vell in 1930.", "Rome", "1930", id="tom")


def ask(source, text, subject=None):
    return asyncio.run(source.ask([Request(text, subject=subject)]))[0]


def texts(reply):
    return [candidate.text for candidate in reply.candidates]


@pytest.fixture
def small(tmp_path):
    with Documents.build([ADA, TOM], tmp_path / "kb") as documents:
        yield documents


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "kb"
    with Documents.build(WORLD.documents("train"), folder) as documents:
        yield documents


# ---------------------------------------------------------------------------------- candidates


def test_values_come_with_kind_place_and_subject(small):
    assert isinstance(small, Source)
    reply = ask(small, "Ada Vell was born in")
    assert set(texts(reply)) == {" Łódź", " 3 May 1901", " optics", " Ulm"}
    assert reply.ranked and reply.error is None
    first = next(c for c in reply.candidates if c.kind == "place")
    assert (first.subject, first.alternatives) == ("Ada Vell", 1.0)
    assert first.evidence.startswith("kb/ada, passage 1, characters 21-25: Ada Vell was born in")


def test_evidence_points_at_the_value_in_the_text(people):
    originals = {document.id: document.text for document in WORLD.documents("train")}
    checked = 0
    for name in WORLD.prompts("train"):
        for candidate in ask(people, name).candidates:
            where = re.match(
                r"kb/(.+), passage (\d+), characters (\d+)-(\d+): (.+)", candidate.evidence
            )
            id, _, start, end, excerpt = where.groups()
            assert originals[id][int(start) : int(end)] == candidate.text.strip()
            assert candidate.text.strip() in excerpt
            checked += 1
    assert checked > 200


def test_most_true_values_are_among_the_candidates(people):
    told = {d.meta["person"]: d.text for d in WORLD.documents("train")}
    right = due = 0
    for document in WORLD.documents("valid"):
        for mark in document.marks:
            value = document.text[mark.start : mark.end]
            if value not in told[document.meta["person"]]:
                continue  # its text does not say so
            reply = ask(people, document.text[: mark.start].rstrip())
            found = {(c.text.strip(), c.kind) for c in reply.candidates}
            right += (value, mark.relation) in found
            due += 1
    assert due > 150
    assert right / due > 0.95


def test_only_facts_of_the_named_person_are_candidates(people):
    for name in WORLD.prompts("train"):
        truth = WORLD.truth(name)
        for candidate in ask(people, f"{name} was").candidates:
            assert truth[candidate.kind] == candidate.text.strip()


def test_passages_that_share_words_with_the_sentence_come_first(tmp_path):
    filler = [f"He saw {animal} there. It was late. He left." for animal in ("Owl", "Elk", "Yak")]
    towns = ["Ulm", "Rome", "Lima", "Oslo"]
    parts = [f"{filler[n % 3]} He painted in {town}." for n, town in enumerate(towns)]
    parts[2] = "He was awarded a medal in Lima."
    text = "Jan Quill lived.\n\n" + "\n\n".join(parts)
    with Documents.build([marked(text, *towns, title="Jan Quill")], tmp_path / "kb") as documents:
        documents.passages = 1
        assert texts(ask(documents, "Jan Quill was awarded a medal in")) == [" Lima"]
        documents.passages = 4
        assert len(texts(ask(documents, "Jan Quill was awarded a medal in"))) == 4
        documents.candidates = 2
        assert texts(ask(documents, "Jan Quill was awarded a medal in"))[0] == " Lima"
        assert len(texts(ask(documents, "Jan Quill was awarded a medal in"))) == 2


def test_a_repeated_value_is_offered_once_and_uses_no_passage(tmp_path):
    same = [marked("Jan Quill was born in Ulm.", id=str(n), place="Ulm") for n in range(9)]
    other = marked("Jan Quill studied optics far away from there.", id="x", field="optics")
    with Documents.build([*same, other], tmp_path / "kb") as documents:
        documents.passages = 2
        reply = ask(documents, "Jan Quill was born in")
    assert sorted(texts(reply)) == [" Ulm", " optics"]


def test_a_value_just_given_is_completed_or_left_out(small):
    assert " 3 May 1901" not in texts(ask(small, "Ada Vell was born on 3 May 1901"))
    assert " 1901" in texts(ask(small, "Ada Vell was born on 3 May"))


def test_documents_about_the_subject_come_first(small):
    assert not {" Rome", " 1930"} & set(texts(ask(small, "Ada Vell came from")))
    assert texts(ask(small, "Tom Brill came from")) == [" Rome", " 1930"]
    # nobody's text, but somebody's words
    assert " Rome" in texts(ask(small, "He was born in Paris, met her in", subject="Brill, Tom"))


def test_unknown_subjects_have_no_candidates(small, tmp_path):
    for text in ("Zorb Quux was born in", "", " \n\n ", "?!", "zzz"):
        reply = ask(small, text)
        assert reply.candidates == () and reply.error.startswith("kb: ")
    assert "Zorb Quux" in ask(small, "Zorb Quux was born in").error
    with Documents.build([], tmp_path / "empty") as empty:
        assert len(empty) == 0
        assert ask(empty, "Ada Vell was born in").candidates == ()
        assert list(empty.documents()) == []


def test_alternatives_are_counted_once_for_each_subject(tmp_path):
    documents = [
        marked(f"{who} lives in {town}.", id=f"{who}{turn}", title=who, town=town)
        for turn in range(3)
        for who, town in (("A A", "Ulm"), ("B B", "Ulm"), ("C C", "Rome"), ("D D", "Lima"))
    ]
    with Documents.build(documents, tmp_path / "kb") as built:
        assert built.alternatives == {"town": pytest.approx(2**1.5)}


def test_texts_without_marks_are_annotated_by_spacy(tmp_path):
    pytest.importorskip("spacy")
    text = "Ada Lovelace was born in London on 10 December 1815. Ada Lovelace left London in 1835."
    with Documents.build([Document("a.txt", text)], tmp_path / "kb") as documents:
        assert documents.names.find("Ada Lovelace was") == "Ada Lovelace"
        kinds = {c.text: c.kind for c in ask(documents, "Ada Lovelace was born on").candidates}
    assert kinds[" 10 December 1815"] == "DATE"
    assert kinds[" London"] in ("ENTITY", "VALUE")
    assert " Ada Lovelace" not in kinds


def test_scripts_without_spaces(tmp_path):
    text = "東京は日本の首都である。人口は1400万人。"
    document = marked(text, "日本", "1400万人", title="東京")
    with Documents.build([document], tmp_path / "kb") as documents:
        assert texts(ask(documents, "東京は")) == ["日本", "1400万人"]
        assert texts(ask(documents, "首都である都市は")) == ["日本", "1400万人"]


# -------------------------------------------------------------------------------------- changes


def test_building_again_adds_and_replaces_by_id(tmp_path):
    report = BuildReport()
    Documents.build([ADA, TOM], tmp_path / "kb", report=report).close()
    assert (report.added, report.replaced, report.unchanged) == (2, 0, 0)
    moved = marked("Ada Vell lived in Bern.", id="ada", title="Ada Vell", place="Bern")
    new = marked("Eve Orr sang in Kiel.", id="eve", place="Kiel")
    report = BuildReport()
    with Documents.build([moved, TOM, new], tmp_path / "kb", report=report) as documents:
        assert (report.added, report.replaced, report.unchanged) == (1, 1, 1)
        assert len(documents) == 3
        assert texts(ask(documents, "Ada Vell was born in")) == [" Bern"]
        assert texts(ask(documents, "Eve Orr sang in")) == [" Kiel"]
        assert documents.alternatives["place"] == pytest.approx(2.0)
    with (
        Documents(tmp_path / "kb") as again,
        closing(sqlite3.connect(again.path / "documents.sqlite")) as db,
    ):
        assert db.execute("SELECT COUNT(*) FROM span").fetchone()[0] == 4
        assert db.execute("SELECT COUNT(*) FROM words").fetchone()[0] == 3


def test_a_killed_build_keeps_whole_documents_and_resumes(tmp_path):
    code = (
        "import os, sys\n"
        "from lacy.world import make_world\n"
        "from lacy.sources.texts import Documents\n"
        "def some():\n"
        "    for n, document in enumerate(make_world(160, 0).documents('train')):\n"
        "        if n == 100: os.kill(os.getpid(), 9)\n"
        "        yield document\n"
        "Documents.build(some(), sys.argv[1])\n"
    )
    died = subprocess.run([sys.executable, "-c", code, tmp_path / "kb"], capture_output=True)
    assert died.returncode == -signal.SIGKILL
    documents = list(make_world(160, 0).documents("train"))
    with Documents(tmp_path / "kb") as half:
        assert len(half) == 64
        assert half.alternatives  # counted on opening
    report = BuildReport()
    with Documents.build(documents, tmp_path / "kb", report=report) as whole:
        assert (report.unchanged, len(whole)) == (64, len(documents))


def test_texts_come_back_with_their_values_as_marks(people):
    for read, made in zip(people.documents(3), WORLD.documents("train"), strict=False):
        assert (read.id, read.text, read.meta["title"]) == (made.id, made.text, made.meta["person"])
        assert [(m.start, m.end, m.relation) for m in read.marks] == [
            (m.start, m.end, m.relation) for m in made.marks
        ]


# --------------------------------------------------------------------------------- broken input


def test_documents_that_cannot_be_used_are_reported_and_the_others_kept(tmp_path):
    broken = [
        Document("empty", "  "),
        Document("half\ud800", "a lone surrogate in the id"),
        Document("outside", "short", marks=(Mark(0, 99, "DATE"),)),
        Document("none", None),
    ]
    report = BuildReport()
    with Documents.build([*broken, ADA], tmp_path / "kb", report=report) as documents:
        assert len(documents) == 1
    assert [name for name, _ in report.skipped] == ["empty", "half?", "outside", "none"]
    assert all(why for _, why in report.skipped)


def test_an_annotator_failing_on_one_text_skips_only_that_text(tmp_path):
    class Moody:
        name = "moody"

        def annotate(self, texts):
            if any("bad" in text for text in texts):
                raise ValueError("no mood")
            return [[Mark(0, 3, "ENTITY")] for _ in texts]

    report = BuildReport()
    given = [Document("1", "Ulm is old."), Document("2", "bad text"), Document("3", "Rom is old.")]
    with Documents.build(given, tmp_path / "kb", annotator=Moody(), report=report) as documents:
        assert len(documents) == 2
        assert set(texts(ask(documents, "somewhere is old and"))) == {" Ulm", " Rom"}
    assert report.skipped == [("2", "ValueError: no mood")]


def test_instructions_in_a_text_are_only_data(tmp_path):
    evil = "Eve Orr\x1b[31m said '); DROP TABLE document;-- \" OR 1 NEAR(a b) and <CALL> <|end|>."
    document = marked(
        evil, "\x1b[31m said '); DROP TABLE document;-- \" OR 1", "<CALL>", title="Eve Orr"
    )
    long = marked("Eve Orr wrote " + "x" * 500 + ".", "x" * 500, id="b", title="Eve Orr")
    with Documents.build([document, long], tmp_path / "kb") as documents:
        reply = ask(documents, evil)
        assert len(documents) == 2
        reply = ask(documents, "Eve Orr wrote")
    assert " <CALL>" in texts(reply)
    assert not any("\x1b" in c.text + c.evidence for c in reply.candidates)
    assert max(map(len, texts(reply))) < 130


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80), subject=st.none() | st.text(max_size=20))
def test_any_text_is_accepted(people, text, subject):
    reply = ask(people, text, subject)
    assert reply.candidates or reply.error.startswith("kb: it ") or "just been said" in reply.error


@settings(max_examples=100, deadline=None)
@given(data=st.data(), text=st.text(alphabet="aB .!?。\n“”", max_size=200))
def test_passages_cover_the_text_and_split_no_value(data, text):
    edges = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    marks = [Mark(a, b, "DATE") for a, b in zip(edges[::2], edges[1::2], strict=False)]
    found = list(split_passages(text, marks))
    assert "".join(text[a:b] for a, b in found) == text
    assert not any(m.start < b < m.end for _, b in found for m in marks)
    for mark, value in marked_values(text, marks):
        assert " ".join(text[mark.start : mark.end].split()) == value


def test_long_passages_are_split_at_spaces():
    text = "word " * 2_000
    found = list(split_passages(text, []))
    assert max(b - a for a, b in found) <= LONGEST_PASSAGE
    assert all(text[b - 1] == " " for _, b in found)
    assert max(b - a for a, b in split_passages("x" * 5_000, [])) <= LONGEST_PASSAGE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ada Lovelace (1815) was", "Ada Lovelace"), ("The Sack of Rome was", "Sack of Rome"),
        ("In 1903 Marie Curie won", "Marie Curie"), ("Łukasz Żak was", "Łukasz Żak"),
        ("it rained", ""), ("Paris is old", ""), ("", ""), ("called Ada Vell", "Ada Vell"),
    ],
)  # fmt: skip
def test_first_name_of_a_text(text, name):
    assert first_name(text) == name


def test_foreign_folders_and_damaged_files_are_errors(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    for path, code in ((tmp_path / "mine", "E16"), (tmp_path / "mine" / "thesis.txt", "E16")):
        with pytest.raises(LacyError) as caught:
            Documents.build([ADA], path)
        assert caught.value.code == code
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "documents.sqlite").write_text("no database at all, but long enough" * 99)
    (tmp_path / "other").mkdir()
    with closing(sqlite3.connect(tmp_path / "other" / "documents.sqlite")) as db:
        db.execute("CREATE TABLE mine (x)")
    for name in ("bad", "other", "missing"):
        with pytest.raises(LacyError) as caught:
            Documents(tmp_path / name)
        assert caught.value.code == "E70"
    for name in ("bad", "other"):
        with pytest.raises(LacyError) as caught:
            Documents.build([ADA], tmp_path / name)
        assert caught.value.code == "E71"


def test_asking_after_close_is_an_error(small):
    small.close()
    reply = ask(small, "Ada Vell was born in")
    assert "closed" in reply.error and reply.fault


def test_a_slow_search_ends_with_the_callers_timeout(small):
    """Somebody else holds the index; who asks goes on without it."""
    small._lock.acquire()
    threading.Timer(0.6, small._lock.release).start()
    [reply] = asyncio.run(guarded(small, [Request("Ada Vell was born in")], timeout=0.1))
    assert "no answer after 0.1 s" in reply.error
