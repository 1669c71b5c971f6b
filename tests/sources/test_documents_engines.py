"""Both search engines find the same, apply changes, and survive kills and concurrent readers."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from lacy.cli import main
from lacy.errors import LacyError
from lacy.sources.texts import BuildReport, Documents, indexing, schema, search
from lacy.sources.texts.search import FtsSearch, SearchQuery
from lacy.types import Document, Mark, Request
from lacy.world import make_world

pytest.importorskip("tantivy", reason="the engine tantivy is an extra: pip install 'lacy[fast]'")
WORLD = make_world(60, 3, prose=0.5)
ENGINES = ("fts5", "tantivy")


def ask(source, text, subject=None):
    return asyncio.run(source.ask([Request(text, subject=subject)]))[0]


def texts(reply):
    return [candidate.text for candidate in reply.candidates]


def told(id, text, value, title=None):
    at = text.index(value)
    marks = (Mark(at, at + len(value), "VALUE", "v"),)
    return Document(id, text, {"title": title} if title else {}, marks)


def first(source, text, subject=None):
    request = Request(text, subject=subject)
    found = source._search(request, subject or source.names.find(text) or "")
    return [number for number, *_ in found[:4]]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    built = [Documents.build(WORLD.documents("train"), folder / e, engine=e) for e in ENGINES]
    yield built
    for documents in built:
        documents.close()


def test_both_engines_find_the_same_passages(both):
    one, other = both
    shared = asked = 0
    for document in WORLD.documents("train"):
        for mark in document.marks[:3]:
            begin = document.text[: mark.start].rstrip()
            bare = begin.replace(document.meta["person"], "")[-60:]
            for text, subject in ((begin, document.meta["person"]), (bare, None)):
                a, b = set(first(one, text, subject)), set(first(other, text, subject))
                shared, asked = shared + len(a & b), asked + max(len(a), len(b))
    assert asked > 500
    assert shared / asked > 0.9


@pytest.mark.parametrize("which", [0, 1])
def test_both_engines_give_the_true_values(both, which):
    source = both[which]
    for name in WORLD.prompts("train")[:10]:
        truth = WORLD.truth(name)
        found = ask(source, f"{name} was").candidates
        assert found and all(truth[c.kind] == c.text.strip() for c in found)
        last, _, rest = name.rpartition(" ")[2], None, name.rpartition(" ")[0]
        assert first(source, "", f"{last} {rest}") or " " not in name
    assert ask(source, "Zorb Quux was").candidates == ()
    for text in ("", "?!", "' OR 1 NEAR(a b) AND \"x", "naïve *:^ +-()", "東京は"):
        ask(source, text)


def test_rare_words_select_the_ranked_rows(both, monkeypatch):
    fts = both[0]._words
    assert isinstance(fts, FtsSearch)
    common = max(fts._common, key=fts._common.get)
    monkeypatch.setattr(search, "MAX_SHARE", 0.2)
    assert common not in fts._distinctive([common, "born"])
    assert fts.find(SearchQuery([common]), 4)  # better than nothing
    monkeypatch.setattr(search, "MAX_SHARE", 1.1)
    rng = random.Random(0)
    for document in rng.sample(list(WORLD.documents("train")), 20):
        said = [w.lower() for w in document.text.split()[:8] if w.isalpha()]
        whole = fts.find(SearchQuery(said), 4)
        for ranked in (1, 5, 50):
            monkeypatch.setattr(search, "MAX_RANKED", ranked)
            assert fts.find(SearchQuery(said), 4)[0][0] in [number for number, _ in whole]
        monkeypatch.undo()


@pytest.mark.parametrize("engine", ENGINES)
def test_changes_reach_the_derived_index(tmp_path, engine):
    docs = [told("a", "Ada Vell was born in Ulm.", "Ulm", "Ada Vell"),
            told("b", "Tom Brill was born in Rome.", "Rome", "Tom Brill")]  # fmt: skip
    with Documents.build(docs, tmp_path / "kb", engine=engine) as before:
        moved = [told("a", "Ada Vell was born in Bern.", "Bern", "Ada Vell"),
                 told("c", "Eve Orr was born in Kiel.", "Kiel", "Eve Orr")]  # fmt: skip
        report = BuildReport()
        with Documents.build(moved, tmp_path / "kb", report=report) as after:  # engine remembered
            assert (report.replaced, report.added) == (1, 1)
            assert texts(ask(after, "Ada Vell was born in")) == [" Bern"]
            assert texts(ask(after, "Eve Orr was born in")) == [" Kiel"]
        # an index that was open sees it, too
        assert texts(ask(before, "Ada Vell was born in")) == [" Bern"]
        assert texts(ask(before, "she was born in", subject="Eve Orr")) == [" Kiel"]


def test_a_wrong_or_missing_engine_is_a_clear_error(tmp_path, monkeypatch, capsys):
    Documents.build([], tmp_path / "plain").close()
    Documents.build([], tmp_path / "quick", engine="tantivy").close()
    for folder, engine, code in (("plain", "tantivy", "E100"), ("plain", "lucene", "E12")):
        with pytest.raises(LacyError) as caught:
            Documents.build([], tmp_path / folder, engine=engine)
        assert caught.value.code == code
    monkeypatch.setitem(sys.modules, "tantivy", None)
    for act in (
        lambda: Documents(tmp_path / "quick"),
        lambda: Documents.build([], tmp_path / "new", engine="tantivy"),
    ):
        with pytest.raises(LacyError) as caught:
            act()
        assert caught.value.code == "E11" and "lacy[fast]" in str(caught.value)
    assert not (tmp_path / "new").exists()  # else it would want tantivy for ever
    assert main(["source", "ask", str(tmp_path / "quick"), "Ada"]) == 2
    assert "lacy[fast]" in capsys.readouterr().err
    Documents(tmp_path / "plain").close()


def test_a_missing_word_index_is_an_error(tmp_path):
    import shutil

    Documents.build([], tmp_path / "kb", engine="tantivy").close()
    shutil.rmtree(tmp_path / "kb" / "words.tantivy")
    with pytest.raises(LacyError) as caught:
        Documents(tmp_path / "kb")
    assert caught.value.code == "E70"


KILLED = """
import os, sys
from lacy.world import make_world
from lacy.sources.texts import indexing, schema
from lacy.sources.texts import Documents
folder, engine, where = sys.argv[1:]
schema.UPDATE_CHUNK, indexing._UPDATE_EVERY, indexing.BATCH_SIZE = 40, 1, 16
def die(): os.kill(os.getpid(), 9)
if where == "between":
    from lacy.sources.texts.tantivy_search import TantivySearch
    write, turns = TantivySearch.write, []
    def last(self, *given):
        write(self, *given)
        turns.append(1)
        if len(turns) == 3: die()
    TantivySearch.write = last
def some():
    for n, document in enumerate(make_world(60, 3, prose=0.5).documents("train")):
        if n == 40 and where == "reading": die()
        yield document
Documents.build(some(), folder, engine=engine)
"""


@pytest.mark.parametrize(
    ("engine", "where"),
    [("fts5", "reading"), ("tantivy", "reading"), ("tantivy", "between")],
)
def test_a_killed_build_resumes_with_the_same_result(both, tmp_path, engine, where):
    command = [sys.executable, "-c", KILLED, tmp_path / "kb", engine, where]
    died = subprocess.run(command, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    documents = list(WORLD.documents("train"))
    with Documents(tmp_path / "kb") as half:
        assert 0 < len(half) < len(documents)
        assert ask(half, f"{documents[0].meta['person']} was").candidates
    report = BuildReport()
    with Documents.build(documents, tmp_path / "kb", report=report) as whole:
        assert len(whole) == len(documents) and report.unchanged > 0
        with closing(sqlite3.connect(tmp_path / "kb" / schema.INDEX_FILE)) as db:
            assert db.execute("SELECT COUNT(*) FROM pending").fetchone() == (0,)
        clean = both[ENGINES.index(engine)]
        for name in WORLD.prompts("train"):
            assert sorted(texts(ask(whole, f"{name} was"))) == sorted(
                texts(ask(clean, f"{name} was"))
            )


READER = """
import asyncio, sys, time
from lacy.sources.texts import Documents
from lacy.types import Request
with Documents(sys.argv[1]) as documents:
    print("open", flush=True)
    answered = 0
    while True:
        [reply] = asyncio.run(documents.ask([Request("", subject="Zorb Quux")]))
        [other] = asyncio.run(documents.ask([Request("Ada Vell was born in")]))
        assert other.candidates, other.error
        assert not reply.candidates or reply.candidates[0].text.strip() == "Oslo", reply
        if reply.candidates: break
        assert "no passage about" in reply.error, reply.error
print("done")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_read_while_one_builds(tmp_path, monkeypatch, engine):
    ada = told("a", "Ada Vell was born in Ulm.", "Ulm", "Ada Vell")
    Documents.build([ada], tmp_path / "kb", engine=engine).close()
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, tmp_path / "kb"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    try:
        for reader in readers:
            assert reader.stdout.readline() == "open\n"
        monkeypatch.setattr(indexing, "BATCH_SIZE", 16)
        monkeypatch.setattr(indexing, "_UPDATE_EVERY", 2)
        monkeypatch.setattr(schema, "UPDATE_CHUNK", 30)
        more = [*WORLD.documents("train"), told("z", "Zorb Quux saw Oslo.", "Oslo", "Zorb Quux")]
        Documents.build(more, tmp_path / "kb").close()
        for reader in readers:
            out, errors = reader.communicate(timeout=300)
            assert (out, reader.returncode) == ("done\n", 0), errors
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
            reader.stdout.close()
            reader.stderr.close()
