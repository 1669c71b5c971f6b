"""JSON, CSV and Parquet in common variants, compressed or not; only damaged cells are left out."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import compression, files, read, source_name
from lacy.corpus.reading import ReadReport
from lacy.errors import LacyError

ROWS = [{"id": str(n), "text": f'Row {n}: é "[,]{{}}\\" end.'} for n in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def reading(path, data=None, **options):
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    report = ReadReport()
    return list(read(path, report=report, **options)), report


def texts(path, data=None, **options):
    return [document.text for document in reading(path, data, **options)[0]]


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=30
)
WANTED = [row["text"] for row in ROWS]


@pytest.mark.parametrize(
    "data",
    [
        LINES, json.dumps(ROWS), json.dumps(ROWS, indent=2), json.dumps({"v": 1, "data": ROWS}),
        json.dumps({"v": 1, "data": ROWS}, indent=1), "\ufeff" + json.dumps(ROWS),
        json.dumps({"rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]}),
        "\n".join(json.dumps(row, indent=1) for row in ROWS), json.dumps([r["text"] for r in ROWS]),
        json.dumps(ROWS).encode("utf-16"), "{broken\n" + LINES,
    ],
)  # fmt: skip
def test_json_in_every_common_layout(tmp_path, data):
    assert texts(tmp_path / "a.json", data) == WANTED


def test_broken_elements_of_a_json_array_are_skipped(tmp_path):
    found, report = reading(tmp_path / "a.json", '[{"text":"a"}, {"text": no}, 5, {"text":"c"}, ')
    assert [(d.id, d.text) for d in found] == [("a.json:1", "a"), ("a.json:4", "c")]
    assert dict(report.skipped) == {"not JSON": 2, "not an object": 1}
    assert report.places["not JSON"][0].startswith(f"{tmp_path / 'a.json'}:2: ")
    assert "no end" in report.places["not JSON"][1]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"text": TEXT}), max_size=6),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)  # fmt: skip
def test_json_arrays_are_split_correctly(tmp_path_factory, rows, chunk, indent):
    path = tmp_path_factory.mktemp("array") / "a.json"
    before, files.CHUNK = files.CHUNK, chunk
    try:
        found = texts(
            path, json.dumps([{"text": "first"}, *rows], indent=indent, ensure_ascii=False)
        )
    finally:
        files.CHUNK = before
    assert found == ["first", *(row["text"] for row in rows if row["text"].strip())]


def test_a_long_element_is_skipped_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 100)
    monkeypatch.setattr(files, "MAX_BYTES", 500)
    rows = [{"text": "a"}, {"text": "x" * 2000}, {"text": "c"}]
    found, report = reading(tmp_path / "a.json", json.dumps(rows))
    assert [d.text for d in found] == ["a", "c"] and report.skipped["text too long"] == 1


# ----------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", 'id,text\n1,"Ada, born\n\nin Ulm"\n2,ok\n'),
        ("a.csv", 'id;text\r\n1;"Ada, born\r\n\r\nin Ulm"\r\n2;ok\r\n'),
        ("a.csv", 'sep=;\nid;text\n1;"Ada, born\n\nin Ulm"\n2;ok\n'),
        ("a.tsv", 'id\ttext\n1\t"Ada, born\n\nin Ulm"\n2\tok'),
        ("a.csv", 'id|Content\n1|"Ada, born\n\nin Ulm"\n2|ok\n'),
        ("a.csv", '\ufeffid,text,\n1,"Ada, born\n\nin Ulm",,\n2,ok,\n'),
        ("a.csv", 'id\ttext\n1\t"Ada, born\n\nin Ulm"\n2\tok\n'.encode("utf-16")),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, data):
    found, report = reading(tmp_path / name, data)
    assert [(d.id, d.text) for d in found] == [("1", "Ada, born\n\nin Ulm"), ("2", "ok")]
    assert not report.skipped


def test_rows_of_a_table_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "a.csv"
    found, report = reading(path, 'id,text\n1,Ada, born in 1815\n2,ok\n3\n4,"no end\n5,five\n')
    assert [(d.id, d.text) for d in found] == [("2", "ok"), ("4", '"no end'), ("5", "five")]
    assert report.places["row longer than the header"][0].startswith(f"{path}:2: 3 cells")
    assert report.places["quote without an end"][0].startswith(f"{path}:5: ")
    with pytest.raises(LacyError) as caught:
        reading(path, "a,b\n1,2\n")
    assert caught.value.code == "E22" and "a, b" in str(caught.value)
    assert texts(path, "a,b\n1,2\n", text_field="b") == ["2"]
    found, report = reading(path, "text,title\ncafé,Köln\nok,1984\n".encode("cp1252"))
    assert [(d.text, d.meta) for d in found] == [
        ("café", {"title": "Köln"}), ("ok", {"title": "1984"})
    ]  # fmt: skip
    assert next(iter(report.notes)).startswith("read as windows-1252")


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(TEXT, min_size=1, max_size=5),
    chunk=st.integers(1, 9),
)  # fmt: skip
def test_any_text_survives_csv(tmp_path_factory, cells, chunk):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["text", "n"], *([cell, 1] for cell in cells)])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    before, files.CHUNK = files.CHUNK, chunk
    try:
        wanted = [cell for cell in cells if cell.strip()]
        if wanted:
            assert texts(path, out.getvalue()) == wanted
    finally:
        files.CHUNK = before


# ------------------------------------------------------------------------------- packed files

PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
try:
    import zstandard
except ImportError:
    pass  # the test below says what is told then
else:
    PACKERS[".zst"] = zstandard.compress


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files(tmp_path, ending):
    pack = PACKERS[ending]
    assert texts(tmp_path / f"a.jsonl{ending}", pack(LINES.encode())) == WANTED
    assert texts(tmp_path / f"a.json{ending}", pack(json.dumps(ROWS).encode())) == WANTED
    joined = pack(b"Ada.") + pack(b" Bo.")
    assert texts(tmp_path / f"a.TXT{ending.upper()}", joined) == ["Ada. Bo."]
    rows = "".join(json.dumps({"text": os.urandom(20).hex()}) + "\n" for _ in range(20_000))
    whole = pack(rows.encode())
    found, report = reading(tmp_path / f"cut.jsonl{ending}", whole[: len(whole) * 9 // 10])
    assert 2_000 < len(found) < 20_000 and any(r.startswith("truncated") for r in report.skipped)
    with pytest.raises(LacyError, match=r"E21.*damaged"):
        reading(tmp_path / f"bad.jsonl{ending}", b"\xff\x00not packed at all")


@pytest.mark.parametrize("ending", PACKERS)
def test_decompression_bombs_are_stopped_early(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(compression, "ALWAYS_ALLOWED", 1 << 18)
    monkeypatch.setattr(files, "MAX_BYTES", 1 << 20)
    pack = PACKERS[ending]
    first = b'{"text": "first"}\n'
    found, report = reading(tmp_path / f"a.jsonl{ending}", pack(first + b"\n" * (4 << 20)))
    assert [d.text for d in found] == ["first"]
    assert set(report.skipped) & {"unpacks to too much", "blank lines"}
    many = 1 << (16 if ending == ".zst" else 18)
    found, report = reading(tmp_path / f"b.jsonl{ending}", pack(first + b'{"text":""}\n' * many))
    assert [d.text for d in found] == ["first"] and report.skipped["unpacks to too much"] == 1
    if ending != ".zst":  # it comes out in one piece
        assert report.skipped["empty text"] < many


@pytest.mark.parametrize("ending", PACKERS)
def test_content_decides_compression_not_the_name(tmp_path, ending):
    """Programs that download files decompress some of them and keep the name."""
    plain = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    assert texts(tmp_path / f"a.jsonl{ending}", plain) == WANTED
    assert texts(tmp_path / "b.jsonl", PACKERS[ending](LINES.encode())) == WANTED
    other = next(name for name in PACKERS if name != ending)
    assert texts(tmp_path / f"c.jsonl{ending}", PACKERS[other](LINES.encode())) == WANTED


def test_blank_lines_and_one_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 100)
    monkeypatch.setattr(files, "MAX_BYTES", 10_000)
    row = b'{"text": "row"}\n'
    found, report = reading(
        tmp_path / "a.jsonl", row + b" \n" * 4_000 + row + b"\r\n" * 9_000 + row
    )
    assert len(found) == 2 and report.skipped == {"blank lines": 1}
    found, report = reading(tmp_path / "b.jsonl", row + b"\0" * 200_000 + b"\n" + row)
    assert len(found) == 1 and report.skipped == {"line too long": 1}


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    def gone():
        raise compression.MissingPackage("zstandard")

    monkeypatch.setitem(compression.FORMATS, ".zst", ("zstd", gone))
    (tmp_path / "a.txt").write_text("ok")
    (tmp_path / "b.jsonl.zst").write_bytes(b"(\xb5/\xfd")
    found, report = reading(tmp_path)
    assert len(found) == 1
    [place] = report.places["no reader"]
    assert "pip install zstandard" in place


# -------------------------------------------------------------------------------------- cells


def test_cells_of_a_wrong_type_are_dropped(tmp_path):
    nine = "9" * 5_000
    rows = [
        f'{{"text":"a","n":{nine},"m":1e999,"title":NaN}}', '{"text":"b","title":["x"]}',
        '{"text":"c","title":"\\ud800","year":1}', '{"text":"d","\\ud800":1}',
        '{"text":"e","id":"\\ud800"}', f'{{"text":"f","id":{nine}}}', '{"text":"g","title":true}',
        f'{{"text":"h","deep":{"[" * 100 + "]" * 100}}}', '{"text":"i","title":1984.0}',
        f'{{"text":"j","title":"{"x" * 2000}"}}', f'{{"text":"k","pages":[{nine}]}}',
    ]  # fmt: skip
    path = tmp_path / "a.jsonl"
    found, report = reading(path, "\n".join(rows))
    assert [d.text for d in found] == list("abcdefghijk")
    assert [d.meta for d in found if d.meta] == [{"year": 1}, {"title": "1984"}]
    assert [d.id for d in found][4:6] == ["a.jsonl:5", "a.jsonl:6"]
    [(reason, places)] = report.notes.items()
    assert reason.startswith("unusable cell") and len(places) == 10
    assert places[0] == f"{path}:1, 'n': no finite number"


def test_an_object_with_numbers_that_are_not_finite_keeps_the_others(tmp_path):
    rows = [
        '{"text":"a","scores":{"x":1,"y":NaN,"z":[Infinity,2]}}',
        '{"text":"b","scores":{"x":NaN,"y":"\\ud800"}}',
    ]
    found, report = reading(tmp_path / "a.jsonl", "\n".join(rows))
    assert found[0].meta == {"scores": {"x": 1, "y": None, "z": [None, 2]}} and found[1].meta == {}
    [places] = report.notes.values()
    assert places[0].endswith("'scores': no finite number in it; null instead")


def test_a_source_is_named_by_its_file(tmp_path):
    (tmp_path / "quiz").mkdir()
    for name in ("gpt-4.1.jsonl", "quiz/train.jsonl"):
        (tmp_path / name).write_text('{"text":"a"}\n')
    (tmp_path / "quiz" / "b.csv.gz").write_bytes(gzip.compress(b"text\na\n"))
    file = tmp_path / "gpt-4.1.jsonl"
    assert [source_name(file, one) for one in read(file)] == ["gpt-4.1"]
    names = [source_name(tmp_path, one) for one in read(tmp_path)]
    assert names == ["gpt-4.1", "quiz/b", "quiz/train"]


def test_rows_of_millions_of_values_cost_bounded_memory(tmp_path):
    many = "[" + "[]," * 200_000 + "1]"
    keys = "{" + ",".join(f'"k{n}":1' for n in range(2_000)) + "}"
    rows = [f'{{"text":"a","many":{many}}}', keys, '{"text":"b","id":"' + "x" * 5_000 + '"}']
    rows.append('{"text":"c","many":' + "[" + "[]," * 6_000_000 + "1]}")
    found, report = reading(tmp_path / "a.jsonl", "\n".join(rows))
    assert [(d.id, d.text, d.meta) for d in found] == [
        ("a.jsonl:1", "a", {}),
        ("a.jsonl:3", "b", {}),
    ]
    assert report.notes.counts == {"unusable cell, left out": 1}
    assert report.places["not JSON"][0].endswith("4,000,000 lists and objects in it")
    with pytest.raises(LacyError) as caught:
        reading(tmp_path / "b.jsonl", keys)
    assert caught.value.code == "E22" and len(str(caught.value)) < 2_000


def test_rows_with_invalid_marks_are_skipped(tmp_path):
    nine = "9" * 4_000
    marks = ['[[0,1,"DATE","\\ud800"]]', '[[0,1,["x"]]]', '[[0,1,"DATE",[1]]]', "[null]",
             '[[0,1e400,"DATE"]]', f'[[0,{nine},"DATE"]]', '[[NaN,1,"DATE"]]', "[[true,1,null]]",
             '[{"start":0,"end":1,"reason":"DATE","x":1}]']  # fmt: skip
    rows = [f'{{"text":"t","marks":{mark}}}' for mark in marks]
    found, report = reading(tmp_path / "a.jsonl", "\n".join([*rows, '{"text":"fine"}']))
    assert [d.text for d in found] == ["fine"]
    assert report.skipped == {"unusable marks": len(marks)}
    assert max(map(len, report.places["unusable marks"])) < 400


def test_damaged_columns_that_are_not_needed_are_ignored(tmp_path):
    bad = pa.array([b"one", b"caf\xe9", b"x"], pa.binary())
    strings = pa.Array.from_buffers(pa.string(), 3, bad.buffers())
    columns = {
        "text": ["a", "b", "c"], "far": pa.array([0, 10**9, 5], pa.date32()),
        "nano": pa.array([1, 2, 3], pa.time64("ns")), "odd": strings, "title": strings,
        "zone": pa.array([1, 2, 3], pa.timestamp("us", "Mars/Phobos")),
        "long": pa.array([1, 2**62, 3], pa.duration("s")), "vector": [[1.0]] * 3,
        "half": pa.array([1.0, float("nan"), 2.0], pa.float16()), "raw": [b"\xff"] * 3,
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found, report = reading(tmp_path / "a.parquet")
    assert [d.text for d in found] == ["a", "b", "c"] and not report.skipped
    assert found[0].meta["title"] == "one" and found[1].meta.keys() == {"nano"}
    both = pa.Table.from_arrays([pa.array(["first"]), pa.array(["second"])], ["text", "text"])
    pq.write_table(both, tmp_path / "two.parquet")
    assert texts(tmp_path / "two.parquet") == ["first"]


def test_a_damaged_column_beside_the_texts_is_dropped(tmp_path):
    path = tmp_path / "a.parquet"
    junk = [os.urandom(8).hex() for _ in range(3000)]
    table = pa.table({"text": [f"text {n}" for n in range(3000)], "junk": junk, "id": junk})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    at = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    data = bytearray(path.read_bytes())
    data[at : at + 60] = b"\xff" * 60
    found, report = reading(path, bytes(data))
    assert [d.text for d in found] == [f"text {n}" for n in range(3000)]
    assert [d.id for d in found] == junk and "damaged column" in report.notes
