"""Texts as a source of an engine, in a study, and on the command line."""

import asyncio
import json
import re
import sqlite3
from contextlib import closing

import pytest

from helpers import models
from lacy.cascade import Engine, default_policy
from lacy.cascade.by_name import ranking_warning
from lacy.cli import main
from lacy.corpus.reading import ReadReport, read
from lacy.errors import LacyError
from lacy.sources import Database, open_source
from lacy.sources.texts import BuildReport, Documents
from lacy.sources.texts.passages import extended_values
from lacy.study.sources import open_study_source as open_partner
from lacy.study.sources import parse_source, world_documents
from lacy.testing import scripted
from lacy.types import Document, Mark, Request
from lacy.world import make_world

WORLD = make_world(40, 3, prose=0.5)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "kb"
    with Documents.build(WORLD.documents("train"), folder) as documents:
        yield documents


def ask(source, text):
    return asyncio.run(source.ask([Request(text)]))[0]


def texts(reply):
    return [candidate.text for candidate in reply.candidates]


def lacy(*argv):
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


def test_an_untrained_model_uses_values_with_evidence(people):
    loaded = models.llama(models.ALL["byte_level"])
    subjects = [*WORLD.prompts("train")[:3], "Zorb Quux"]
    engine = Engine(loaded, people, "random=0.5", abstain=None, max_new_tokens=24)
    answers = engine.generate([f"{name} was" for name in subjects], subjects)
    borrowed = [span for answer in answers for span in answer.spans if span.speaker == "kb"]
    assert borrowed
    assert all(re.match(r"kb/train/.+, passage \d+, characters", s.evidence) for s in borrowed)
    assert any("it has no passage about 'Zorb Quux'" in span.reason for span in answers[-1].spans)


def test_an_engine_uses_values_with_evidence(people):
    name = WORLD.prompts("train")[0]
    line = f"{name} was."
    model = scripted(
        lambda t: line[len(t) :] if line.startswith(t) else "", lambda t: t[-4:] == " was"
    )
    engine = Engine(model, people, "threshold=0", abstain=None, max_new_tokens=40)
    [answer] = engine.generate([name])
    borrowed = [span for span in answer.spans if span.speaker == "kb"]
    assert borrowed and all(span.evidence.startswith("kb/train/") for span in borrowed)
    assert borrowed[0].text.strip() in WORLD.truth(name).values()


def test_a_study_indexes_the_training_texts_once(tmp_path):
    assert parse_source("documents") == ("documents", {})
    with pytest.raises(ValueError, match="no option"):
        parse_source("documents:errors=0.1")
    with open_partner("documents", WORLD, tmp_path, 0) as source:
        assert len(source) == len(WORLD.people("train"))
        file = source.path / "documents.sqlite"
        before = file.stat().st_mtime_ns
    world_documents(WORLD, tmp_path / "documents").close()
    assert file.stat().st_mtime_ns == before


def test_the_command_line_builds_and_asks(tmp_path, capsys):
    assert (
        lacy("data", "world", "--people", 20, "--per-person", 1, "--out", tmp_path / "world") == 0
    )
    build = ["source", "build", tmp_path / "world", "--out", tmp_path / "kb"]
    assert lacy(*build) == 0
    assert re.search(r"added\s+18", capsys.readouterr().out)
    assert lacy(*build) == 0
    assert re.search(r"as they were\s+18", capsys.readouterr().out)
    row = json.loads((tmp_path / "world" / "train.jsonl").read_text().splitlines()[0])
    (start, end, *_), *_ = row["marks"]
    assert lacy("source", "ask", tmp_path / "kb", row["text"][:start].rstrip()) == 0
    shown = capsys.readouterr().out
    assert row["text"][start:end] in shown
    assert f"kb/{row['id']}, passage 1, characters {start}-{end}" in shown
    assert lacy("source", "ask", tmp_path / "kb", "Zorb Quux was") == 0
    assert "No answer. kb: it has no passage about 'Zorb Quux'" in capsys.readouterr().out
    assert lacy("source", "ask", tmp_path / "world", row["person"]) == 0
    assert "truth.sqlite" in capsys.readouterr().out
    assert lacy("source", "ask", tmp_path / "nothing here", "Ada") == 2
    assert lacy("source", "build", "--help") == 0
    assert "lacy source build texts/ --out kb" in capsys.readouterr().out


def test_a_folder_with_mixed_files(tmp_path, capsys):
    pytest.importorskip("spacy")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "ada.txt").write_text("Ada Lovelace was born in London in 1815.", encoding="utf-8")
    (folder / "bad.txt").write_bytes(b"\xff\xfe\x00broken\xd8")
    (folder / "more.jsonl").write_text('{"text": "Tom Brill died in Rome in 1901."}\nno json\n')
    assert lacy("source", "build", folder, "--out", tmp_path / "kb") == 0
    captured = capsys.readouterr()
    assert "skipped: " in captured.err and "more.jsonl:2" in captured.err
    source = open_source(str(tmp_path / "kb"))
    with source:
        assert {" London", " 1815"} <= set(texts(ask(source, "Ada Lovelace was born in")))
        meta = {"training": {"settings": {"method": "lacy", "call_negative": "softmax"}}}
        policy, why = default_policy(source, meta)
    assert str(policy) == "threshold=0" and "texts cost nothing" in why
    forgot = {"training": {"settings": {"method": "lacy", "text_weight": 0.0}}}
    assert "what a source offers" in ranking_warning(source, forgot)


def test_partial_names_are_extended(tmp_path):
    text = "The CBC Radio One of J. S. Bach. In Sierra Nevada it rained."
    words = ("CBC", "One", "Nevada")
    parts = [(text.index(word), text.index(word) + len(word), "ENTITY") for word in words]
    assert list(extended_values(text, parts).values()) == ["CBC Radio One of J. S. Bach"] * 2 + [
        "Sierra Nevada"
    ]
    start = text.index("Nevada")
    for reason, offered in (("ENTITY", {"Nevada", "Sierra Nevada"}), ("DATE", {"Nevada"})):
        document = Document("a", text, {"title": "It"}, (Mark(start, start + 6, reason),))
        with Documents.build([document], tmp_path / reason) as documents:
            assert {t.strip() for t in texts(ask(documents, "It was in"))} == offered


@pytest.mark.parametrize(
    ("text", "value", "kind", "said"),
    [("It is about 40 km long.", "40 km", "NUMBER", "about 40 km"),
     ("It has more than 3,000 rooms.", "3,000", "NUMBER", "more than 3,000"),
     ("It has well over 40 rooms.", "40", "NUMBER", "well over 40"),
     ("It has from 40 to 50 rooms.", "40 to 50", "NUMBER", "from 40 to 50"),
     ("It was built in the 1890s.", "1890s", "DATE", "the 1890s"),
     ("It was built before 1450.", "1450", "DATE", "before 1450"),
     ("It lasted from 1914 to 1918.", "1914 to 1918", "DATE", "from 1914 to 1918"),
     ("It lasted between 1914 and 1918.", "1914 and 1918", "DATE", "between 1914 and 1918"),
     ("It ran 12 May 1914 – 3 June 1915.", "12 May 1914", "DATE", "12 May 1914 – 3 June 1915")],
)  # fmt: skip
def test_values_are_offered_with_their_qualifiers(text, value, kind, said):
    start = text.index(value)
    place = (start, start + len(value))
    assert extended_values(text, [(*place, kind)]) == {place: said}
    assert extended_values(text, [(*place, "a relation of the text's own marks")]) == {}


def test_values_of_a_wrong_type_skip_their_cell_or_row(tmp_path):
    good = '"text":"Ada Vell was born in Ulm.","title":"Ada Vell","marks":[[21,24,"VALUE","place"]]'
    rows = [
        "{" + good + f',"pages":[0,{10**30},-5,"x",null,1e999]' + "}",
        '{"id":"m","text":"Bo","marks":[[0,2,"VALUE","\\ud800"]]}',
        '{"id":"t","text":"Cy Orr was in Rome.","title":["Cy"],"marks":[[14,18,"ENTITY"]]}',
        '{"id":"n","text":"Di Orr was in Bonn.","title":NaN,"marks":[[14,18,"ENTITY"]]}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    odd = [
        Document(
            "x", "Eva is in Kiel.", {"pages": [10**40, True], "title": 7}, (Mark(10, 14, "DATE"),)
        ),
        Document("y", "Fe", {}, (Mark(0, 2, "VALUE", "\ud800"),)),
        Document("z", "Ge", {}, (Mark(0, 2, "VALUE", ["x"]),)),
    ]
    report = BuildReport()
    found = [*read(tmp_path / "a.jsonl", report=ReadReport()), *odd]
    with Documents.build(found, tmp_path / "kb", report=report) as documents:
        assert len(documents) == 4
        assert texts(ask(documents, "Ada Vell was born in")) == [" Ulm"]
        assert texts(ask(documents, "Cy Orr was in")) == [" Rome"]
    assert [name for name, _ in report.skipped] == ["y", "z"]


def test_evidence_names_the_page(tmp_path):
    text = "Ada Vell lived in Ulm.\n\nShe died in Kiel."
    marks = tuple(Mark(text.index(w), text.index(w) + len(w), "VALUE", w) for w in ("Ulm", "Kiel"))
    meta = {"title": "Ada Vell", "pages": [0, text.index("She")]}
    with Documents.build([Document("a.pdf", text, meta, marks)], tmp_path / "kb") as documents:
        told = {c.kind: c.evidence for c in ask(documents, "Ada Vell was in").candidates}
    assert told["Ulm"].startswith("kb/a.pdf, page 1, passage 1, characters")
    assert told["Kiel"].startswith("kb/a.pdf, page 2, passage 2, characters")


def test_an_unreadable_folder_leaves_no_index(tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "empty.txt").touch()
    out = tmp_path / "kb"
    assert main(["source", "build", str(tmp_path / "texts"), "--out", str(out)]) == 3
    assert "[E21]" in capsys.readouterr().err and not out.exists()


def test_source_ask_suggests_the_next_command(tmp_path, capsys):
    path = tmp_path / "my facts.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
    assert lacy("source", "ask", path, "Ada Vell was born in") == 0
    assert "it knows no names" in capsys.readouterr().out
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO fact VALUES ('Ada Vell', 'place', 'Ulm')")
        db.execute("INSERT INTO fact VALUES ('Bo\x1b[31m Orr', 'place', 'Bern')")
    assert lacy("source", "ask", path, "Who was born in") == 0
    shown = capsys.readouterr().out
    assert "2 names, such as 'Ada Vell', 'Bo [31m Orr'" in shown and "--subject" in shown
    assert lacy("source", "ask", path, "Bo\x1b[31m Orr was born in") == 0
    shown = capsys.readouterr().out
    assert "Bern" in shown and "\x1b" not in shown
    assert f"Next: lacy generate MODEL \"...\" --source '{path}'" in shown
    assert lacy("source", "ask", "http://127.0.0.1:9/v1#m", "Ada Vell was born in") == 4
    assert "No answer. m: ConnectError" in capsys.readouterr().out
    with pytest.raises(LacyError, match="lacy source map"):
        Database(path, table="facts")


def test_a_passage_deleted_during_a_search_is_harmless(tmp_path, monkeypatch):
    text = "Ada Vell was born in Ulm."
    document = Document("a", text, {"title": "Ada Vell"}, (Mark(21, 24, "VALUE", "place"),))
    with Documents.build([document], tmp_path / "kb") as kb:
        search, went = kb._search, []

        def then_it_goes(request, subject):
            hits = search(request, subject)
            file = kb.path / "documents.sqlite"
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as db:
                try:
                    went.append(db.execute("DELETE FROM passage").rowcount)
                except sqlite3.OperationalError as error:  # it has to wait
                    went.append(str(error))
            return hits

        monkeypatch.setattr(kb, "_search", then_it_goes)
        [reply] = asyncio.run(kb.ask([Request("Ada Vell was born in")]))
        assert [c.text for c in reply.candidates] == [" Ulm"] and not reply.error
        assert went and not kb._db.in_transaction
