"""Markdown, HTML and PDF as plain text: paragraphs, a title, and where the pages of a PDF begin.

What is a page's frame (menus, headers and footers that repeat) is left out, so are blocks of code:
they hold no sentences. Paragraphs are separated by an empty line.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class Unreadable(Exception):
    """Why nothing can be read: ``args`` are a reason and a detail, as a ``ReadReport`` wants."""


@dataclass
class Plain:
    """What was in a file."""

    text: str
    title: str = ""
    pages: tuple[int, ...] = ()
    """Where each page of a PDF begins in the text."""


_FRONT = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:\-]+)", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_OLD = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252"}
"""What browsers read under these names (WHATWG's encoding standard)."""

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xAD: "-"}
_NO_TITLE = re.compile(r"untitled|microsoft|\.(docx?|tex|dvi|indd|pdf|qxd|rtf)$", re.IGNORECASE)
_END = re.compile(r"[.!?:…][\"'”’»)\]]*$")
_DIGITS = re.compile(r"\d+")


def markdown(data: bytes) -> Plain:
    """Text of CommonMark with tables; the first heading (or ``title:`` above all) is the title."""
    from markdown_it import MarkdownIt

    text = decoded(data.removeprefix(codecs.BOM_UTF8), "utf-8").replace("\r\n", "\n")
    title = ""
    if front := _FRONT.match(text):
        found = _FRONT_TITLE.search(front[1])
        title, text = found[1].strip("\"'") if found else "", text[front.end() :]
    paragraphs: list[str] = []
    cells: list[str] | None = None
    heading = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            paragraphs.append(", ".join(filter(None, cells or [])))
            cells = None
        elif token.type == "heading_open":
            heading = True
        elif token.type == "inline":
            said = _inline(token.children or [])
            title = title or said * heading
            heading = False
            (paragraphs if cells is None else cells).append(said)
    return Plain("\n\n".join(filter(None, paragraphs)), title)


def _inline(tokens: Sequence[Any]) -> str:
    """The words of a paragraph; of a link its text, of an image nothing."""
    said = {"softbreak": " ", "hardbreak": "\n"}
    written = ("text", "code_inline")
    parts = [t.content if t.type in written else said.get(t.type, "") for t in tokens]
    return "".join(parts).strip()


def html(data: bytes) -> Plain:
    """The main text of a page and its title."""
    import trafilatura

    page = decoded(data, _charset(data))
    found = trafilatura.bare_extraction(page, include_comments=False, with_metadata=True)
    text, title = (found.text or "", found.title or "") if found else ("", "")
    text = text or trafilatura.html2txt(page)
    paragraphs = (line.strip() for line in text.splitlines())
    return Plain("\n\n".join(filter(None, paragraphs)), " ".join(title.split()))


def _charset(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    declared = _CHARSET.search(data[:4096])
    name = declared[1].decode().lower() if declared else "utf-8"
    return _OLD.get(name, name)


def decoded(data: bytes, encoding: str) -> str:
    """Text, or the first bad byte."""
    try:
        return data.decode(encoding)
    except LookupError:
        raise Unreadable("wrong encoding", f"there is no encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        why = f"byte 0x{data[error.start]:02x} is not {encoding.upper()} (at byte {error.start})"
        raise Unreadable("wrong encoding", why) from None


def pdf(data: bytes) -> Plain:
    """The text of a PDF, its lines joined to paragraphs; a page that is damaged is left out."""
    import logging

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF", "it asks for a password")
        pages = list(reader.pages)
        title = str((reader.metadata or {}).get("/Title") or "")
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # pypdf raises whatever a damaged file leads to
        raise Unreadable("damaged PDF", f"{type(error).__name__}: {error}"[:200]) from error
    lines, problems = [], []
    for page in pages:
        try:
            lines.append([line.strip() for line in page.extract_text().splitlines()])
        except MemoryError:
            raise
        except Exception as error:
            lines.append([])
            problems.append(f"page {len(lines)}: {type(error).__name__}: {error}"[:200])
    text, starts = _joined(_frameless(lines))
    if not text.strip():
        why = "its pages hold no text, perhaps they are pictures"
        raise Unreadable("damaged PDF" if problems else "empty text", (problems or [why])[0])
    return Plain(text, "" if _NO_TITLE.search(title.strip()) else title.strip(), tuple(starts))


def _frameless(pages: list[list[str]]) -> list[list[str]]:
    """Pages without first and last lines that stand on most of them (numbers may differ).

    Empty lines stay where they are few: then they part paragraphs.
    """
    empty = sum(not line for page in pages for line in page)
    few = empty <= sum(map(len, pages)) / 3
    pages = [[line for line in page if line or few] for page in pages]
    for _ in range(2 if len(pages) > 2 else 0):  # a header may have two lines
        for place in (0, -1):
            for page in pages:
                while page and not page[place]:
                    del page[place]
            edges = [_DIGITS.sub("#", page[place]) if page else "" for page in pages]
            often = {line for line, n in Counter(edges).items() if line and n > len(pages) / 2}
            for page, edge in zip(pages, edges, strict=True):
                if edge in often:
                    del page[place]
    return pages


def _joined(pages: list[list[str]]) -> tuple[str, list[int]]:
    """Lines as paragraphs, and where each page begins.

    A PDF knows lines only. A paragraph ends with a sentence on a short line; a short line without
    an end before a capital is a heading; a word cut by a hyphen goes on in lower case.
    """
    lengths = sorted(len(line) for page in pages for line in page if line)
    width = lengths[len(lengths) * 9 // 10] if lengths else 0
    parts: list[str] = []
    starts: list[int] = []
    size, before = 0, ""
    for number, page in enumerate(pages, 1):
        for line in page:
            line = line.translate(_LIGATURES)
            if line and before.endswith("-") and before[-2:-1].isalpha() and line[0].islower():
                parts[-1] = parts[-1][:-1]
                size -= 1
            elif line and parts:
                parts.append(" " if before and _goes_on(before, line, width) else "\n\n")
                size += len(parts[-1])
            if line and len(starts) < number:
                starts.append(size)
            parts += [line] if line else []
            size, before = size + len(line), line
        starts += [size] * (number - len(starts))
    return "".join(parts), starts


def _goes_on(before: str, line: str, width: int) -> bool:
    """Whether a line goes on with the paragraph of the line before."""
    if _END.search(before):
        return len(before) >= 0.8 * width
    return len(before) >= 0.6 * width or not (line[:1].isupper() or line[:1].isdigit())


FORMATS: dict[str, Callable[[bytes], Plain]] = {
    ".md": markdown, ".markdown": markdown, ".html": html, ".htm": html, ".pdf": pdf,
}  # fmt: skip
"""Who reads what, by the end of the name."""


def fields(kind: str, data: bytes, text_field: str) -> Iterator[tuple[str, Any]]:
    """What a file becomes as a row: title and pages where it has some, and the text."""
    plain = FORMATS[kind](data)
    if plain.title:
        yield "title", plain.title.encode(errors="replace").decode()
    if plain.pages:
        yield "pages", list(plain.pages)
    yield text_field, plain.text.encode(errors="replace").decode()
