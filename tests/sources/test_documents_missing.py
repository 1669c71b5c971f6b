"""Documents whose files no longer exist are removed from the index and reported."""

import asyncio
import gzip
import json
import logging
import os
import re
import shutil

import pytest

from lacy.cli import main
from lacy.corpus.reading import ReadReport, read
from lacy.sources import open_source
from lacy.sources.texts import BuildReport, Documents, Origin
from lacy.types import Mark, Request


class Towns:
    """Marks every capitalised word behind "in"."""

    name = "towns"

    def annotate(self, texts):
        found = (re.finditer(r"(?<= in )[A-Z]\w+", text) for text in texts)
        return [[Mark(*match.span(), "ENTITY") for match in matches] for matches in found]


def put(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def build(source, out, *, gone="auto", limit=None, **options):
    seen, done = ReadReport(), BuildReport()
    origin = Origin(str(source), gone, seen.incomplete, complete=limit is None)
    documents = read(source, report=seen, limit=limit)
    Documents.build(
        documents, out, annotator=Towns(), report=done, origin=origin, **options
    ).close()
    return done


def offered(out, text):
    with Documents(out) as source:
        reply = asyncio.run(source.ask([Request(text)]))[0]
    return {candidate.text.strip() for candidate in reply.candidates}


ADA, JON = "Ada Pohl was born in Kelfield.", "Jon Pratt was born in Fenton."
IDA, TOM = "Ida Roon was born in Roston.", "Tom Gray was born in Quorn."


@pytest.mark.parametrize("options", [{}, {"engine": "tantivy"}])
def test_deleted_files_are_removed_and_reported(tmp_path, options):
    if options:
        pytest.importorskip("tantivy")
    notes, kb = tmp_path / "notes", tmp_path / "kb"
    put(notes, ada=ADA, jon=JON, ida=IDA)
    build(notes, kb, **options)
    (notes / "ada.txt").unlink()
    (notes / "jon.txt").rename(notes / "jonathan.txt")
    put(notes, jonathan="Jon Pratt was born in Marwood.")
    put(notes, ida="Ida Roon was born in Selby.")
    os.utime(notes / "ida.txt", (1e9, 1e9))
    with Documents(kb) as before:
        assert sorted(map(os.path.basename, before.missing())) == ["ada.txt", "jon.txt"]
    done = build(notes, kb)
    assert (done.added, done.replaced, done.unchanged) == (1, 1, 0)
    assert (done.missing.removed, done.missing.names) == (2, ("ada.txt", "jon.txt"))
    assert offered(kb, "Jon Pratt was born in") == {"Marwood"}
    assert offered(kb, "Ida Roon was born in") == {"Selby"}
    assert not offered(kb, "Ada Pohl was born in")
    with Documents(kb) as after:
        assert len(after) == 2 and after.missing() == []
        assert "Ada Pohl" not in after.names


def test_other_folders_stay_and_equal_file_names_are_two_documents(tmp_path):
    kb = tmp_path / "kb"
    put(tmp_path / "notes", a=ADA, b=JON)
    put(tmp_path / "more", a=IDA)
    build(tmp_path / "notes", kb)
    done = build(tmp_path / "more", kb)
    assert (done.added, done.missing.removed, done.missing.elsewhere) == (1, 0, 2)
    assert offered(kb, "Ada Pohl was born in") == {"Kelfield"}
    assert offered(kb, "Ida Roon was born in") == {"Roston"}
    with Documents(kb) as source:
        assert sorted(d.id for d in source.documents()) == ["a.txt", "b.txt", "more/a.txt"]
    assert build(tmp_path / "more", kb).unchanged == 1
    (tmp_path / "more" / "a.txt").rename(tmp_path / "more" / "c.txt")
    done = build(tmp_path / "more", kb)
    assert done.missing.names == ("more/a.txt",) and done.added == 1


def test_a_subfolder_built_alone_adds_no_duplicates(tmp_path):
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, a=ADA)
    put(notes / "sub", b=JON, c=IDA)
    build(notes, kb)
    assert build(notes / "sub", kb).unchanged == 2
    (notes / "sub" / "b.txt").unlink()
    assert build(notes, kb).missing.names == ("sub/b.txt",)
    with Documents(kb) as source:
        assert sorted(d.id for d in source.documents()) == ["a.txt", "sub/c.txt"]


def test_files_not_read_from_the_folder_stay(tmp_path):
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, **{"a": ADA, ".hidden": JON})
    rows = notes / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in (IDA, TOM)))
    build(notes / ".hidden.txt", kb)
    build(rows, kb)
    done = build(notes, kb)
    assert (done.added, done.unchanged, done.missing.removed, done.missing.elsewhere) == (
        1,
        2,
        0,
        1,
    )
    build(rows, kb)
    rows.write_text(json.dumps({"text": IDA}) + "\n")
    (notes / ".hidden.txt").unlink()
    assert build(notes, kb).missing.names == (".hidden.txt", "rows.jsonl:2")


def test_a_moved_folder_adds_no_duplicates(tmp_path):
    kb = tmp_path / "kb"
    put(tmp_path / "notes", a=ADA, b=JON)
    build(tmp_path / "notes", kb)
    (tmp_path / "notes").rename(tmp_path / "old notes")
    done = build(tmp_path / "old notes", kb)
    assert (done.added, done.unchanged) == (0, 2)
    with Documents(kb) as source:
        assert source.missing() == [] and len(source) == 2


def test_a_renamed_file_and_a_linked_folder_add_no_duplicates(tmp_path):
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, a=ADA)
    build(notes / "a.txt", kb)
    (notes / "a.txt").rename(notes / "b.txt")
    done = build(notes / "b.txt", kb)
    assert (done.added, done.missing.names, done.missing.elsewhere) == (1, ("a.txt",), 0)
    (tmp_path / "link").symlink_to(notes)
    assert build(tmp_path / "link", kb).unchanged == 1
    with Documents(kb) as source:
        assert [d.id for d in source.documents()] == ["b.txt"]


def test_removed_rows_and_rows_with_own_ids(tmp_path):
    kb, rows = tmp_path / "kb", tmp_path / "rows.jsonl"

    def write(path, **texts):
        lines = (json.dumps({"id": id, "text": text}) + "\n" for id, text in texts.items())
        path.write_text("".join(lines), encoding="utf-8")

    write(rows, ada=ADA, jon=JON, ida=IDA)
    build(rows, kb)
    write(tmp_path / "delta.jsonl", ada="Ada Pohl was born in Benwick.")
    done = build(tmp_path / "delta.jsonl", kb)
    assert (done.replaced, done.missing.elsewhere) == (1, 2)
    assert offered(kb, "Ada Pohl was born in") == {"Benwick"}
    write(rows, jon=JON)
    done = build(rows, kb)
    assert done.missing.names == ("ida",)  # Ada is another file's now
    assert build(rows, kb, limit=1).missing.removed == 0


def test_unreadable_files_are_not_missing(tmp_path):
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, a=ADA, b=TOM)
    packed = notes / "rows.jsonl.gz"
    rows = "".join(json.dumps({"id": str(n), "text": f"Man {n} was in Ulm. {os.urandom(40).hex()}"})
                   + "\n" for n in range(400))  # fmt: skip
    packed.write_bytes(gzip.compress(rows.encode()))
    build(notes, kb)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    done = build(notes, kb)
    assert done.missing.removed == 0 and 100 < done.missing.unread < 300
    put(notes, b="")  # empty now: its old words are not there any more
    assert build(notes, kb).missing.names == ("b.txt",)


def test_nothing_is_removed_if_nearly_all_is_missing(tmp_path):
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, **{f"t{n}": f"Man {n} was born in Ulm." for n in range(6)})
    build(notes, kb)
    shutil.rmtree(notes)
    put(notes, readme="Nothing is mounted in Here.")
    done = build(notes, kb)
    assert (done.missing.removed, done.missing.kept) == (0, 6)
    assert build(notes, kb, gone="keep").missing.kept == 6
    assert build(notes, kb, gone="remove").missing.removed == 6
    put(notes, only=ADA)
    build(notes, kb)
    (notes / "readme.txt").unlink()
    (notes / "only.txt").rename(notes / "other.txt")
    assert build(notes, kb).missing.removed == 2  # two files became one under another name


def test_an_index_without_origins_is_upgraded(tmp_path):
    import sqlite3
    from contextlib import closing

    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, a=ADA, b=JON)
    build(notes, kb)
    with closing(sqlite3.connect(kb / "documents.sqlite")) as db, db:
        db.execute("DROP TABLE origin")
    assert offered(kb, "Ada Pohl was born in") == {"Kelfield"}
    with Documents(kb) as source:
        assert source.missing() == []
    assert build(notes, kb).unchanged == 2
    (notes / "a.txt").unlink()
    assert build(notes, kb).missing.names == ("a.txt",)


def test_the_command_line_reports_missing_files(tmp_path, capsys, caplog):
    pytest.importorskip("spacy")
    kb, notes = tmp_path / "kb", tmp_path / "notes"
    put(notes, ada="Ada Lovelace was born in London.", bo="Bo Orr was born in Paris in 1901.")
    typed = ["source", "build", str(notes), "--out", str(kb)]
    assert main(typed) == 0
    (notes / "ada.txt").rename(notes / "x\x1b[31m.docx")
    with caplog.at_level(logging.WARNING):
        open_source(str(kb)).close()
    assert "1 of its files no longer exist" in caplog.text and "ada.txt" in caplog.text
    capsys.readouterr()
    assert main(typed) == 0
    told = capsys.readouterr()
    assert re.search(r"removed\s+1", told.out)
    assert "removed: 1 that are no longer in" in told.err and "'ada.txt'" in told.err
    assert "not read: 1 x .docx" in told.err and "\x1b" not in told.err
    (notes / "bo.txt").unlink()
    assert main(typed) == 3
    told = capsys.readouterr().err
    assert "[E121]" in told and "--gone remove" in told
    shutil.rmtree(notes)
    assert main(typed) == 3
    with Documents(kb) as source:
        assert len(source) == 1
    assert main([*typed, "--gone", "remove"]) == 0
    with Documents(kb) as source:
        assert len(source) == 0
