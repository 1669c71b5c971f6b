"""Readers: what is kept, what is skipped and where, and what is an error."""

import gzip
import json
import logging
import os
import string

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import files, read
from lacy.corpus.reading import ReadReport, write_documents
from lacy.errors import LacyError
from lacy.types import Document, Mark

_BOM = b"\xef\xbb\xbf"


def lines_of(*rows):
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )


def reading(path, **options):
    report = ReadReport()
    return list(read(path, report=report, **options)), report


def code_of(path, **options):
    with pytest.raises(LacyError) as caught:
        list(read(path, **options))
    return caught.value


def test_jsonl_keeps_fields_and_skips_what_is_broken_with_its_place(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        lines_of(
            {"id": "one", "text": "First.", "title": "T", "year": 1879},
            b'{"id": "two", "text": ',
            {"id": "three", "text": "  \n"},
            {"id": "four", "title": "no text"},
            {"id": "five", "text": None},
            {"id": "six", "text": ["a", "list"]},
            b"[1, 2]",
            b"",
            b'{"id": "latin", "text": "caf\xe9"}',
            b'{"id": "half", "text": "\\ud800 alone"}',
            {"text": "Without id."},
            {"id": 7, "text": "Number."},
        )
    )
    documents, report = reading(path)
    assert [document.id for document in documents] == ["one", "a.jsonl:11", "7"]
    assert documents[0].meta == {"title": "T", "year": 1879}
    assert dict(report.skipped) == {
        "not JSON": 1,
        "empty text": 1,
        "no text field": 1,
        "null text": 1,
        "text is no string": 1,
        "not an object": 1,
        "wrong encoding": 2,
    }
    assert report.places["not JSON"][0].startswith(f"{path}:2: ")
    assert report.places["wrong encoding"][0] == f"{path}:9: byte 0xe9 is not UTF-8 (at byte 28)"
    assert report.places["wrong encoding"][1].startswith(f"{path}:10: half a surrogate pair")
    assert report.documents == 3
    assert report.characters == sum(len(document.text) for document in documents)
    assert "3 documents" in report.summary() and f"{path}:2" in report.summary()


def test_surrogate_pairs_of_json_are_characters(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "\\ud83d\\ude00"}\n')
    assert reading(path)[0][0].text == "\N{GRINNING FACE}"


def test_byte_order_mark_crlf_nul_and_missing_last_newline(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one\\r\\n"}\r\n\r\n{"text": "nul \\u0000 \xc3\xa9"}')
    documents, report = reading(path)
    assert [document.text for document in documents] == ["one\r\n", "nul \0 é"]
    assert not report.skipped


def test_text_file_is_one_document(tmp_path):
    path = tmp_path / "story.txt"
    path.write_bytes(b"\xef\xbb\xbfA line.\r\nAnother\rthird \0 end")
    documents, _ = reading(path)
    assert documents == [Document("story.txt", "A line.\nAnother\nthird \0 end")]


def test_undecodable_text_reports_the_line_and_the_option(tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes(b"fine\nfine\n" + "Мария Велл".encode("cp1251"))
    error = code_of(path)
    assert error.code == "E21"
    assert f"{path}:3: byte 0xcc is not UTF-8 (at byte 10)" in str(error)
    assert "--encoding" in error.do
    [document], _ = reading(path, encoding="windows-1251")
    assert document.text == "fine\nfine\nМария Велл"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz", "a.jsonl.gz", "a.ndjson"])
def test_empty_file_is_an_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    error = code_of(path)
    assert error.code == "E21" and str(path) in str(error)


def test_file_of_nuls_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\0" * 5000)
    assert code_of(path).code == "E21"


def test_missing_text_field_names_what_there_is(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"id": 1, "body": "x"}, {"id": 2, "body": "y"}))
    error = code_of(path)
    assert error.code == "E22" and "id, body" in str(error) and "--text-field" in str(error)
    assert [document.text for document in reading(path, text_field="body")[0]] == ["x", "y"]


def test_long_line_of_ten_megabytes(tmp_path):
    path = tmp_path / "a.jsonl"
    text = "abcdefghi " * 1_000_000
    path.write_bytes(lines_of({"text": text}, {"text": "short"}))
    documents, _ = reading(path)
    assert [len(document.text) for document in documents] == [10_000_000, 5]


def test_line_without_end_is_skipped_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 1000)
    monkeypatch.setattr(files, "MAX_BYTES", 5000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"text": "one"}, {"text": "x" * 20_000}, {"text": "three"}))
    documents, report = reading(path)
    assert [document.text for document in documents] == ["one", "three"]
    assert report.places["line too long"] == [f"{path}:2: more than 5000 bytes"]
    (tmp_path / "b.txt").write_bytes(b"y" * 6000)
    assert "text file too long" in str(code_of(tmp_path / "b.txt"))


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 9), st.booleans())
@settings(max_examples=60, deadline=None)
def test_lines_are_those_of_split_whatever_the_chunk(tmp_path_factory, pieces, chunk, zipped):
    data = b"\n".join(pieces)
    path = tmp_path_factory.mktemp("lines") / ("a.gz" if zipped else "a")
    path.write_bytes(gzip.compress(data) if zipped else data)
    wanted = data.removeprefix(_BOM).split(b"\n")
    before, files.CHUNK = files.CHUNK, chunk
    try:
        found = list(files.lines(path, lambda *problem: pytest.fail(str(problem))))
    finally:
        files.CHUNK = before
    assert found == [(number, line) for number, line in enumerate(wanted, 1) if line.strip()]


def test_truncated_gzip_yields_what_was_readable(tmp_path):
    rows = [{"id": i, "text": f"text {i} {os.urandom(20).hex()}"} for i in range(3000)]
    whole = gzip.compress(lines_of(*rows))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    documents, report = reading(path)
    assert 1000 < len(documents) < 2000
    assert [document.id for document in documents] == [str(i) for i in range(len(documents))]
    assert report.skipped["truncated gzip"] == 1
    assert report.skipped["not JSON"] <= 1  # the line that was cut


def test_damaged_gzip_and_files_joined_from_several(tmp_path):
    first, second = lines_of({"text": "one"}), lines_of({"text": "two"})
    path = tmp_path / "joined.jsonl.gz"
    path.write_bytes(gzip.compress(first) + gzip.compress(second) + b"\0" * 512)
    documents, report = reading(path)
    assert [document.text for document in documents] == ["one", "two"] and not report.skipped
    path.write_bytes(gzip.compress(first) + b"no gzip at all")
    documents, report = reading(path)
    assert [document.text for document in documents] == ["one"]
    assert report.skipped["damaged gzip"] == 1
    path.write_bytes(b"never was gzip")
    assert code_of(path).code == "E21"


def test_repeated_ids_become_unique(tmp_path):
    path = tmp_path / "a.jsonl"
    ids = ["a", "a", "a#2", "a", "b"]
    path.write_bytes(lines_of(*({"id": name, "text": "t"} for name in ids)))
    documents, report = reading(path)
    found = [document.id for document in documents]
    assert found == ["a", "a#2", "a#2#2", "a#3", "b"]
    assert report.renamed == 3 and "3 ids" in report.summary()


def test_limit_and_no_work_beyond_it(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"text": "one"}, {"text": "two"}, b"broken"))
    documents, report = reading(path, limit=2)
    assert len(documents) == 2 and not report.skipped
    assert reading(path, limit=0)[0] == []


def test_skipped_lines_are_logged_without_a_report(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"text": "one"}, b"broken"))
    with caplog.at_level(logging.WARNING):
        assert len(list(read(path))) == 1
    assert f"{path}:2" in caplog.text


def test_folder_in_sorted_order_with_relative_ids(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "x.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.jsonl").write_bytes(lines_of({"text": "third"}))
    (tmp_path / ".hidden" / "no.txt").write_text("hidden")
    (tmp_path / "notes.docx").write_text("not read")
    (tmp_path / "empty.txt").write_text("")
    documents, report = reading(tmp_path)
    assert [(document.id, document.text) for document in documents] == [
        ("a.txt", "first"),
        ("b/x.txt", "second"),
        ("c.jsonl:1", "third"),
    ]
    assert dict(report.skipped) == {"empty text": 1}
    assert report.ignored == {".docx": [str(tmp_path / "notes.docx")]}


def test_restructured_text_has_a_title_and_no_underlines(tmp_path):
    path = tmp_path / "a.rst"
    path.write_text("=====\nMara\n=====\n\nMara Vell was born.\n\nLater\n-----\n\nShe left.\n")
    [document], _ = reading(path)
    assert document.text == "Mara\n\nMara Vell was born.\n\nLater\n\nShe left.\n"
    assert document.meta == {"title": "Mara"}


def test_unknown_formats_and_missing_files_raise_when_called(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"x")
    for path, code in [
        (tmp_path / "a.docx", "E27"),
        (tmp_path, "E27"),
        (tmp_path / "nothing.txt", "E13"),
    ]:
        with pytest.raises(LacyError) as caught:
            read(path)
        assert caught.value.code == code


def test_parquet_by_row_groups_with_nulls_and_bad_bytes(tmp_path):
    path = tmp_path / "a.parquet"
    raw = [b"one", None, b"caf\xe9", b"", b"five"]
    text = pa.Array.from_buffers(pa.string(), 5, pa.array(raw, pa.binary()).buffers(), null_count=1)
    table = pa.table({"id": [1, 2, 3, 4, 5], "text": text, "vector": [[0.5]] * 5, "year": [1] * 5})
    pq.write_table(table, path, row_group_size=2)
    documents, report = reading(path)
    assert [(document.id, document.text) for document in documents] == [("1", "one"), ("5", "five")]
    assert documents[0].meta == {"year": 1}
    assert dict(report.skipped) == {"null text": 1, "wrong encoding": 1, "empty text": 1}
    assert report.places["wrong encoding"][0].startswith(f"{path}:3: ")


def test_parquet_dictionary_column_marks_and_damage(tmp_path):
    path = tmp_path / "a.parquet"
    marks = [[{"start": 0, "end": 1, "reason": "DATE", "relation": None}], []]
    table = pa.table({"text": pa.array(["ab", "cd"]).dictionary_encode(), "marks": marks})
    pq.write_table(table, path)
    documents, _ = reading(path)
    assert documents[0].marks == (Mark(0, 1, "DATE"),) and documents[1].marks == ()
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged Parquet" in str(code_of(path))
    pq.write_table(pa.table({"body": ["x"]}), path)
    assert code_of(path).code == "E22"


def test_saved_datasets_with_and_without_splits(tmp_path):
    data = datasets.Dataset.from_dict({"text": ["one", None, "three"], "n": [1, 2, 3]})
    data.save_to_disk(tmp_path / "plain")
    documents, report = reading(tmp_path / "plain")
    assert [document.text for document in documents] == ["one", "three"]
    assert documents[1].meta == {"n": 3} and report.skipped["null text"] == 1
    parts = datasets.DatasetDict({"train": data, "valid": data.select([2])})
    parts.save_to_disk(tmp_path / "parts")
    assert [d.text for d in reading(tmp_path / "parts", split="valid")[0]] == ["three"]
    error = code_of(tmp_path / "parts", split="test")
    assert error.code == "E23" and "no split 'test'" in str(error)


def test_hub_names_go_through_datasets_as_a_stream(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(lines_of({"text": "one"}, {"text": "two"}))
    documents, _ = reading(f"hf:{tmp_path}", limit=1)
    assert [document.text for document in documents] == ["one"]
    assert documents[0].id.endswith("[train]:1")
    assert code_of(f"hf:{tmp_path}", split="nope").code == "E23"
    assert code_of("hf:").code == "E23"


def test_marks_survive_jsonl(tmp_path):
    marks = (Mark(0, 4, "ENTITY"), Mark(10, 14, "DATE", "birth"))
    documents = [Document("a", "Anna, née 1879", {"k": 1}, marks), Document("b", "no marks")]
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert write_documents(iter(documents), tmp_path / name) == 2
        assert reading(tmp_path / name)[0] == documents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.gz"]


@pytest.mark.parametrize(
    "marks", [[[0, 9, "DATE"]], [[2, 2, "DATE"]], [[0, 1, "WHY"]], [["a", 1, "DATE"]], [[0]], [5]]
)
def test_marks_that_do_not_fit_are_skipped(tmp_path, marks):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"text": "abc", "marks": marks}, {"text": "fine"}))
    documents, report = reading(path)
    assert [document.text for document in documents] == ["fine"]
    assert report.skipped["unusable marks"] == 1


def test_failing_writer_leaves_no_file(tmp_path):
    def documents():
        yield Document("a", "text")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_documents(documents(), tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_text_survives_jsonl(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    documents = [Document(str(i), text) for i, text in enumerate(["x", *texts])]
    write_documents(documents, path)
    wanted = [document for document in documents if document.text.strip()]
    assert reading(path)[0] == wanted


@given(st.binary(max_size=200), st.sampled_from([".txt", ".jsonl", ".txt.gz", ".parquet"]))
@settings(max_examples=100, deadline=None)
def test_random_bytes_give_documents_or_a_clear_error(tmp_path_factory, data, ending):
    path = tmp_path_factory.mktemp("bytes") / f"a{ending}"
    path.write_bytes(data)
    try:
        documents, _ = reading(path)
    except LacyError as error:
        assert error.code in ("E21", "E22")
    else:
        assert documents and all(document.text.strip(string.whitespace) for document in documents)


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(LacyError) as caught:
        read("")
    assert caught.value.code == "E13"


def test_deep_nesting_is_a_broken_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of({"text": "fine"}, b'{"text": ' + b"[" * 100_000))
    documents, report = reading(path)
    assert [document.text for document in documents] == ["fine"]
    assert report.skipped["not JSON"] == 1


def test_only_keeps_documents_whose_field_is_true_and_limit_counts_these(tmp_path):
    rows = [{"text": f"Text {n}.", "good": n % 3 == 0, "kind": "a"} for n in range(9)]
    (tmp_path / "a.jsonl").write_bytes(lines_of(*rows))
    documents, report = reading(tmp_path / "a.jsonl", only="good")
    assert [document.text for document in documents] == ["Text 0.", "Text 3.", "Text 6."]
    assert report.documents == 9
    few, _ = reading(tmp_path / "a.jsonl", only="good", limit=2)
    assert few == documents[:2]
    with pytest.raises(LacyError, match=r"E12.*'bad'.*'only'"):
        reading(tmp_path / "a.jsonl", only="bad")
