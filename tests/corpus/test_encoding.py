"""The encoding of a text, from its first bytes, the caller, an HTML page itself, or a guess."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import read
from lacy.corpus.encoding import (
    Undecodable,
    as_utf8,
    codec_of,
    declaration,
    decode_page,
    decode_text,
)
from lacy.corpus.reading import ReadReport
from lacy.errors import LacyError

ADA = "Ada Vell said “café” in Kelfield — 1815, at 12½ % and £3.5m."


def reading(path, **options):
    report = ReadReport()
    return list(read(path, report=report, **options)), report


@pytest.mark.parametrize(
    "name", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
def test_utf_16_and_utf_32_are_recognised_by_their_first_bytes(name):
    found = decode_text(ADA.encode(name))
    assert (found.text, found.guessed) == (ADA, False)


def test_windows_1252_is_guessed_where_a_text_looks_western():
    for text in (ADA, "Völl wurde in Köln geboren.", "¿Qué? «Né» 5×3 m² § 4"):
        found = decode_text(text.encode("cp1252"))
        assert (found.text, found.guessed) == (text, True)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Мария Велл родилась 12 мая", "cp1251"), ("Мария Велл родилась", "koi8-r"),
        ("山田太郎は1815年に東京で", "shift_jis"), ("山田太郎は1815年に", "euc-jp"),
        ("李小明1815年出生于长沙", "gb18030"), ("מרה ול נולדה", "cp1255"),
        ("Łukasz Żak urodził się", "cp1250"), ("née à “Paris”, né", "mac-roman"),
    ],
)  # fmt: skip
def test_texts_that_do_not_look_western_are_never_guessed(text, codec):
    with pytest.raises(Undecodable):
        decode_text(text.encode(codec))
    assert decode_text(text.encode(codec), codec).text == text


def test_utf_8_with_a_damaged_byte_is_not_taken_for_another_encoding():
    with pytest.raises(Undecodable, match="byte 0xff is not UTF-8"):
        decode_text("é è ü ö".encode() + b"\xff ok")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("latin-1", "cp1252"), ("ASCII", "cp1252"), (" Windows-1251 ", "cp1251"), ("UTF8", "utf-8"),
        ("shift-jis", "cp932"), ("cp437", "cp437"), ("unicode", "utf-16-le"), ("gb2312", "gb18030"),
    ],
)  # fmt: skip
def test_encoding_names_map_to_codecs(name, codec):
    assert codecs.lookup(codec_of(name)) == codecs.lookup(codec)


@pytest.mark.parametrize("name", ["rot13", "hex", "idna", "klingon", "", "x-user-defined"])
def test_names_that_are_not_text_encodings_are_an_error(tmp_path, name):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(LacyError) as caught:
        read(tmp_path / "a.txt", encoding=name)
    assert caught.value.code == "E12"


@pytest.mark.parametrize(
    ("html", "codec"),
    [
        (b"<meta charset=iso-8859-1>", "cp1252"),
        (b"<META CHARSET = 'us-ascii'>", "cp1252"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-2">', "iso-8859-2"),
        (b"<meta content='text/html;charset=\"sjis\"' http-equiv=content-type />", "cp932"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=utf-16be>", "utf-8"),
        (b"<meta charset=x-user-defined>", "cp1252"),
        (b"<meta charset=klingon><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- <meta charset=koi8-r> --><meta charset=gbk>", "gb18030"),
        (b'<a title="<meta charset=koi8-r>">', None),
        (b'<meta name="a" content="charset=koi8-r">', None),
        (b"<metadata charset=koi8-r>", None),
        (b'<?xml version="1.0" encoding="iso-8859-15"?>', "iso-8859-15"),
        (b"<meta charset=hz-gb-2312>", ""),
        (b" " * 3000 + b"<meta charset=cp1251>", "cp1251"),
        (b"no tags at all", None),
    ],
)
def test_pages_declare_as_browsers_read(html, codec):
    assert declaration(html) == codec


def test_pages_are_decoded_as_browsers_do():
    body = '<meta charset="{}"><p>Ada “Vell” 1815'
    assert "“Vell”" in decode_page(body.format("iso-8859-1").encode("cp1252")).text
    assert decode_page(b"<meta charset=latin1>\x81").text.endswith("\x81")
    assert decode_page(b"<meta charset=utf-8>caf\xe9!").text.endswith("caf\ufffd!")
    assert decode_page(b"\xef\xbb\xbf<meta charset=cp1251>\xc3\xa9").text.endswith("é")
    assert decode_page("<p>é".encode("utf-16")).text == "<p>é"
    assert decode_page(b"<p>caf\xe9").guessed and not decode_page("<p>é".encode()).guessed
    assert decode_page("<p>Мария".encode("koi8-r"), "koi8-r").text == "<p>Мария"


@settings(max_examples=80, deadline=None)
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=80
    ),
    codec=st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig"]),
    size=st.integers(1, 9),
)
def test_streams_become_utf_8(text, codec, size):
    data = text.encode(codec)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    told = None if codec.endswith("-sig") or codec == "utf-8" else codec
    assert b"".join(as_utf8(pieces, told)) == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    decode_page(data)
    b"".join(as_utf8([data], None, guess=lambda: None))
    try:
        decode_text(data)
    except Undecodable as error:
        assert 0 <= error.at < len(data)


def test_a_given_encoding_applies_only_to_texts_that_are_not_utf_8(tmp_path):
    old, new = "Мария Велл", "Анна Рун, née"
    (tmp_path / "a.txt").write_bytes(old.encode("cp1251"))
    (tmp_path / "b.txt").write_text(new, encoding="utf-8")
    (tmp_path / "c.csv").write_bytes(f"text\n{old}\n".encode("cp1251") + f'"{new}"\n'.encode())
    (tmp_path / "d.txt").write_bytes("山田".encode("utf-16"))
    assert [d.text for d in reading(tmp_path, encoding="cp1251")[0]] == [old, new, old, new, "山田"]
    (tmp_path / "e.txt").write_bytes("山田は".encode("iso-2022-jp"))  # seven bits, hence UTF-8, too
    assert reading(tmp_path / "e.txt", encoding="iso-2022-jp")[0][0].text == "山田は"
    declared = decode_page("<meta charset=koi8-r><p>Мария".encode("koi8-r"), "cp1251")
    assert declared.text.endswith("Мария")


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text("aяб ,", max_size=9), max_size=9),
    codec=st.sampled_from(["iso-8859-5", "utf-16-le", "utf-8"]),
    size=st.integers(1, 7),
)
def test_lines_of_a_stream_are_decoded_whatever_the_pieces(texts, codec, size):
    whole = "\n".join(texts)
    data = whole.encode(codec)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = b"".join(as_utf8(pieces, codec)).decode()
    assert found == whole


def test_lines_in_gb_18030_that_are_valid_utf_8_follow_the_given_encoding():
    lines = ["李小明1815年出生于长沙", "ä", "他"]
    pair = bytes([0xC4, 0xA3]).decode("gb18030")  # two bytes of UTF-8, too
    data = "\n".join([*lines, pair]).encode("gb18030")
    assert b"".join(as_utf8([data], "gb18030")).decode().split("\n") == [*lines, pair]
    data = "\n".join(lines).encode()
    assert b"".join(as_utf8([data], "gb18030")).decode().split("\n") == lines


def test_files_in_old_encodings_are_read_and_the_guess_is_reported(tmp_path):
    pytest.importorskip("trafilatura", exc_type=ImportError)
    texts = {"a.txt": "cp1252", "b.md": "cp1252", "c.html": "cp1252", "d.txt": "utf-16"}
    for name, codec in texts.items():
        (tmp_path / name).write_bytes(ADA.encode(codec))
    documents, report = reading(tmp_path)
    assert {d.id: d.text for d in documents} == dict.fromkeys(texts, ADA)
    [(reason, places)] = report.notes.items()
    assert "--encoding" in reason and places == [
        f"{tmp_path / n}" for n in ("a.txt", "b.md", "c.html")
    ]
    row = '{"text": "caf\xe9"}\n{"text": "fine"}\n'
    (tmp_path / "e.jsonl").write_bytes(row.encode("latin-1"))
    documents, report = reading(tmp_path / "e.jsonl")
    assert [d.text for d in documents] == ["fine"] and report.skipped == {"wrong encoding": 1}
    documents, report = reading(tmp_path / "e.jsonl", encoding="latin-1")
    assert [d.text for d in documents] == ["café", "fine"] and not report.skipped
    (tmp_path / "e.jsonl").write_bytes(row.encode("utf-16"))
    assert [d.text for d in reading(tmp_path / "e.jsonl")[0]] == ["café", "fine"]
