"""Markdown, HTML and PDF: what is text, what is a title, and files that are broken on purpose."""

import base64
import importlib.util
import re
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import read, reader_process
from lacy.corpus.files import Unreadable
from lacy.corpus.read_markup import html_to_text, markdown_to_text
from lacy.corpus.read_pdf import pdf_to_text
from lacy.corpus.reading import ReadReport
from lacy.errors import LacyError

pytestmark = pytest.mark.slow


def reading(path, **options):
    report = ReadReport()
    return list(read(path, report=report, **options)), report


def pdf_of(*pages, title=None, extra=b""):
    """A small PDF with the lines of each page in Helvetica, written by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        if isinstance(lines, bytes):
            content = lines
        else:
            shown = (re.sub(r"([()\\])", r"\\\1", line).encode("cp1252") for line in lines)
            content = b"BT /F1 11 Tf 14 TL 50 750 Td " + b" ".join(b"(%s) Tj T*" % s for s in shown)
            content += b" ET"
        zipped = zlib.compress(content)
        parts += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(zipped), zipped),
        ]
    if title:
        parts.append(f"<< /Title ({title}) >>".encode())
    out, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    info = b" /Info %d 0 R" % len(parts) if title else b""
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n"
        b"%%%%EOF\n" % (len(parts) + 1, table, len(parts) + 1, info, len(out))
    )


MARKDOWN = """---
title: "Front"
---
# Ada *Vell*

Born in [Ulm](https://ulm.de) on
3 May 1901. ![a picture](x.png)

```python
print("not said")
```

- one **thing**
- another

| town | year |
|------|------|
| Bern | 1920 |

<div>raw</div>
"""

HTML = """<!DOCTYPE html><html><head><title>Ada Vell</title><meta charset="utf-8"></head><body>
<nav><a href="/">Home</a> <a href="/about">About us</a></nav>
<article><h1>Ada Vell</h1><p>Ada Vell, an optician, was born in Łódź on 3 May 1901 and grew up there
with two sisters, both of whom taught at the same school.</p>
<p>Later she moved to Ulm, where she built the first of her many telescopes in 1930.</p></article>
<script>var a = "never";</script><footer>Copyright, all rights reserved</footer></body></html>"""

COLUMN = [
    "Ada Vell was born in Ulm on the third of May 1901, as the only daughter of an opti-",
    "cian who had come from Bern. She went to school in the same town until she was six-",
    "teen years old.",
    "Later she moved to Kiel, where she built the first of her many telescopes and wrote",
    "on the theory of lenses, a book of two volumes that was printed in 1930 by a friend",
]


def test_markdown_becomes_plain_text():
    plain = markdown_to_text(MARKDOWN.encode())
    assert plain.title == "Front"
    assert plain.text.split("\n\n") == [
        "Ada Vell", "Born in Ulm on 3 May 1901.", "one thing", "another", "town, year",
        "Bern, 1920", "raw",
    ]  # fmt: skip
    assert markdown_to_text(MARKDOWN[MARKDOWN.index("#") :].encode()).title == "Ada Vell"


def test_a_mixed_folder_is_read_with_titles_and_pages(tmp_path):
    pytest.importorskip("trafilatura", exc_type=ImportError)
    pytest.importorskip("pypdf")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text(MARKDOWN, encoding="utf-8")
    (tmp_path / "b.HTM").write_text(HTML, encoding="utf-8")
    head = [f"The life of Ada Vell, page {n}" for n in (1, 2, 3)]
    lines = [[head[0], *COLUMN], [head[1], "of hers.", "She died in 1960."], [head[2], "An end."]]
    (tmp_path / "sub" / "c.pdf").write_bytes(pdf_of(*lines, title="Ada Vell"))
    (tmp_path / "d.txt").write_text("plain")
    documents, report = reading(tmp_path)
    assert not report.skipped
    by = {document.id: document for document in documents}
    assert list(by) == ["a.md", "b.HTM", "d.txt", "sub/c.pdf"]
    assert by["a.md"].meta == {"title": "Front"}
    web = by["b.HTM"]
    assert web.meta == {"title": "Ada Vell"}
    assert "born in Łódź on 3 May 1901" in web.text and "\n\nLater she moved" in web.text
    assert not any(word in web.text for word in ("never", "About us", "rights"))
    pdf = by["sub/c.pdf"]
    assert pdf.meta["title"] == "Ada Vell"
    paragraphs = pdf.text.split("\n\n")
    assert paragraphs[0].endswith("an optician who had come from Bern. She went to school in the "
                                  "same town until she was sixteen years old.")  # fmt: skip
    assert paragraphs[1].endswith("in 1930 by a friend of hers.")
    assert [pdf.text[at:][:8] for at in pdf.meta["pages"]] == ["Ada Vell", "of hers.", "An end."]
    assert "The life of" not in pdf.text


def test_a_damaged_page_is_dropped_and_reported(tmp_path):
    pytest.importorskip("pypdf")
    whole = pdf_of(["Ada Vell was born in Ulm."], ["gone"])
    strange = b"7 0 obj\n<< /Length 5 /Filter /Nope >>\nstream\nabcde\nendstream\nendobj\n"
    second, table = whole.index(b"7 0 obj"), whole.index(b"xref\n")
    (tmp_path / "a.pdf").write_bytes(whole[:second] + strange + whole[table:])
    [document], report = reading(tmp_path / "a.pdf")
    assert document.text == "Ada Vell was born in Ulm."
    assert list(report.notes) == ["some of its pages are damaged and were left out"]


def test_a_pdf_encrypted_by_aes_is_read_or_names_the_package(tmp_path):
    pytest.importorskip("pypdf")
    (tmp_path / "a.pdf").write_bytes(AES)
    (tmp_path / "b.txt").write_text("Text.")
    documents, report = reading(tmp_path)
    if importlib.util.find_spec("cryptography"):
        assert documents[0].text == "Ada Vell was born in Ulm."
    else:
        [place] = report.places["no reader"]
        assert "a.pdf" in place and "pip install cryptography" in place


def test_damaged_pdfs_whose_text_is_intact(tmp_path):
    pytest.importorskip("pypdf")
    good = pdf_of(["Ada Vell was born in Ulm."])
    table = good.index(b"xref\n0")
    files = {
        "after.pdf": good + b"\0" * 4_000,
        "before.pdf": b"HTTP/1.1 200 OK\r\n\r\n" + good,
        "no table.pdf": good[:table],
        "wrong table.pdf": good.replace(b"startxref\n", b"startxref\n9"),
        "no end.pdf": good[: good.index(b"%%EOF")],
        "UPPER.PDF": good,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    documents, report = reading(tmp_path)
    assert {d.id: d.text for d in documents} == dict.fromkeys(files, "Ada Vell was born in Ulm.")
    assert not report.skipped


def test_a_pdf_that_a_plotter_made(tmp_path):
    pytest.importorskip("pypdf")
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0.1, 0.5, "Ada Vell was born in 1901.")
    FigureCanvasPdf(figure).print_pdf(tmp_path / "a.pdf")
    [document], _ = reading(tmp_path / "a.pdf")
    assert document.text == "Ada Vell was born in 1901."


def encrypted(data):
    import io

    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


AES = zlib.decompress(base64.b85decode(
    'c-oCqJ7^R^7#0hQX|%L448m1nW@mPGb{39<JnrxnF61;#6rA0exm>vHhTXZm8Vf<NiU@Y1*eKW}g&-nUMlgj~XrY'
    'aT56~io7J{9#yO-qPEZkj|`M>}B-}6_dCmW~ns0%8ezr1}1FmzxNE`Vwkpo?ou3Ze;NL^o*zG%eaHgTxYMK&=K;E'
    'OR0mGAMWeo$tsD&OtZl!z%zyB)!-`JYeen(=-p1DoZURp(!OhVmw*3z8w29OrRf-(qn8aF@v;Z&ZsQurIAfC_t>!'
    '7@_?bYmvs5{<I{oo7gXFf^N>5aJ~OEji(qr-!NU6O(NAwic7JbPzo}o3Jp1+j(W#T)j(yO7E^nWEI{k8c<;RW3;u'
    'W~}5Y2rgKd-$wvh}rscUF#Go&A2|@U7kF8~XmnohM-H5WagnkK1?M&%hh%K%O-~tzKvfF$Xa~<04Z<J?M<;E-TZC'
    '#6TTvz{@P8wh{TSUlAtUb`(+)(17_QAhsc$u2CsOEhAznQVCEKRz1eF;J&Mr>qdUyN74-ghiWOL=9mgCTq<=ST&|'
    'gt6o&z)ibPBbA_UW34WLV~$|G*0xFHQfECQ+g(2|L8Fps>5MvCxIQ{^eDe2)u?8Fd^hGp)5HIox`gXcSXx8QDLL^'
    '~`*IIlmETGKrc?D$Yq$5RKJav*e&q)}O95U2MS8K`x~G!a>VcQ>B3eec<drka?c#K@ImYY{ye*;scD)Aq*3D2qPX'
    'I!dyO#(LtU`MW?IMVveoOy0Yn^nIy4GQ{L~hlXeHHR5>BRK^RhBYfc1_+QCftn0rKc0j~WI#coeMj?%Ry1KHkgWJ'
    'aW>XpEf=s8s6B2KWn;_bG<'
))  # fmt: skip
"""A PDF with one line that anybody may read, encrypted by AES (by pypdf and cryptography)."""

BROKEN_PAGES = {
    "refused.html": (b'<meta charset="iso-2022-kr"><p>x', "wrong encoding.*browsers refuse"),
    "nothing.html": (b"<html><body></body></html>", "empty text"),
    "zipped.html.gz": (b"\x1f\x8b\x08 no", "damaged gzip"),
}


def test_broken_files_are_skipped_with_a_reason(tmp_path):
    pytest.importorskip("pypdf")
    good = pdf_of(["Ada Vell."])
    bomb = b"BT /F1 9 Tf " + b" " * 100_000_000 + b"(boom) Tj ET"
    files = {
        "bomb.pdf": (pdf_of(bomb), "damaged PDF.*LimitReached"),
        "cut.pdf": (good[: len(good) // 3], "damaged PDF|no text"),
        "empty.pdf": (b"", "empty text"),
        "encrypted.pdf": (encrypted(good), "encrypted PDF.*password"),
        "garbage.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 40_000, "damaged PDF|no text"),
        "picture.pdf": (pdf_of([]), "empty text.*pictures"),
        "page.pdf": (b"<!DOCTYPE html><p>404", "damaged PDF.*no PDF.*DOCTYPE"),
        "empty.md": (b" \n", "empty text"),
        "cyrillic.md": ("Мария".encode("cp1251"), "wrong encoding.*0xcc"),
    }
    try:
        import trafilatura  # noqa: F401
    except ImportError:
        pass  # its own tests are skipped with a reason
    else:
        files |= BROKEN_PAGES
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "z.pdf").write_bytes(good)
    documents, report = reading(tmp_path)
    assert [document.id for document in documents] == ["z.pdf"]
    told = [f"{reason} {place}" for reason, found in report.places.items() for place in found]
    for name, (_, why) in files.items():
        [line] = [line for line in told if name in line]
        assert re.search(why, line), line


def test_a_file_that_takes_too_long_or_too_much_memory_is_skipped(tmp_path, monkeypatch):
    pytest.importorskip("pypdf")
    monkeypatch.setattr(reader_process, "TIMEOUT", 3.0)
    (tmp_path / "a.pdf").write_bytes(pdf_of(b"BT /F1 9 Tf " + b"(a) Tj 1 1 Td " * 1_500_000))
    (tmp_path / "b.pdf").write_bytes(pdf_of(["Ada Vell."]))
    documents, report = reading(tmp_path)
    assert [document.id for document in documents] == ["b.pdf"]
    assert "not read within 3 s" in str(report.places)
    monkeypatch.setattr("lacy.corpus.files.MAX_BYTES", 100)
    assert "text file too long" in reading_nothing(tmp_path).problem


def reading_nothing(path):
    with pytest.raises(LacyError) as caught:
        reading(path)
    error = caught.value
    error.problem = str(error)
    return error


def test_a_missing_package_is_reported_with_the_install_command(tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    raises = "raise ModuleNotFoundError('not here', name='{0}')"
    for package in ("pypdf", "trafilatura"):
        (hidden / f"{package}.py").write_text(raises.format(package))
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf_of(["Ada"]))
    (folder / "b.html").write_text(HTML, encoding="utf-8")
    error = reading_nothing(folder)
    assert error.code == "E11" and "'pypdf'" in str(error) and "lacy[documents]" in str(error)
    (folder / "c.md").write_text("Ada Vell")
    documents, report = reading(folder)
    assert [document.id for document in documents] == ["c.md"]
    assert report.skipped["no reader"] == 2
    assert "pip install 'lacy[documents]'" in report.places["no reader"][0]


def test_a_readme_beside_tables_is_not_read(tmp_path):
    (tmp_path / "README.md").write_text("# Card")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    assert [document.text for document in reading(tmp_path)[0]] == ["one"]
    (tmp_path / "a.jsonl").rename(tmp_path / "a.txt")
    assert [document.id for document in reading(tmp_path)[0]] == ["README.md", "a.txt"]


def test_no_reader_process_is_left_running(tmp_path):
    (tmp_path / "a.md").write_text("one")
    (tmp_path / "b.md").write_text("two")
    documents = read(tmp_path)
    next(documents)
    children = Path("/proc/self/task")
    if sys.platform == "linux" and children.exists():

        def running():
            return [t.joinpath("children").read_text() for t in children.iterdir()]

        before = running()
        documents.close()
        assert sum(map(len, running())) < sum(map(len, before))


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300))
def test_any_markdown_is_read(text):
    try:
        markdown_to_text(text.encode())
    except (Unreadable, UnicodeEncodeError) as error:
        assert "surrogates" in str(error)


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300), pdf=st.booleans())
def test_any_bytes_are_read_or_refused(data, pdf):
    pytest.importorskip("trafilatura", exc_type=ImportError)
    pytest.importorskip("pypdf")
    convert = pdf_to_text if pdf else html_to_text
    try:
        convert(b"%PDF-1.4\n" * pdf + data)
    except Unreadable as error:
        assert len(error.args) == 2
