"""Convert PDF to plain text: join lines into paragraphs, drop repeated headers and footers."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

from lacy.corpus.files import PlainText, Unreadable

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xAD: "-"}
_NO_TITLE = re.compile(r"untitled|microsoft|\.(docx?|tex|dvi|indd|pdf|qxd|rtf)$", re.IGNORECASE)
_END = re.compile(r"[.!?:…][\"'”’»)\]]*$")
_HEADER = 1 << 16
"""The PDF header must begin within this many bytes (generous: other readers allow 1024)."""

_CATALOG = re.compile(rb"(\d{1,9})\s+(\d{1,5})\s+obj\s*<<[^<>]{0,2000}/Type\s*/Catalog\b")
_DIGITS = re.compile(r"\d+")


def pdf_to_text(data: bytes) -> PlainText:
    """Extract the text of a PDF with lines joined into paragraphs; damaged pages are dropped."""
    import logging

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = _open_pdf(data, pypdf.PdfReader)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF", "it asks for a password")
        pages = list(reader.pages)
        title = str((reader.metadata or {}).get("/Title") or "")
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # on damaged files, pypdf raises exceptions of any class
        _raise_if_package_needed(error)
        raise Unreadable("damaged PDF", f"{type(error).__name__}: {error}"[:200]) from error
    lines, problems = [], []
    for page in pages:
        try:
            lines.append([line.strip() for line in page.extract_text().splitlines()])
        except MemoryError:
            raise
        except Exception as error:
            _raise_if_package_needed(error)
            lines.append([])
            problems.append(f"page {len(lines)}: {type(error).__name__}: {error}"[:200])
    text, starts = _join_lines(_without_headers(lines))
    if not text.strip():
        why = "its pages contain no text; they may be scanned pictures"
        raise Unreadable("damaged PDF" if problems else "empty text", (problems or [why])[0])
    title = "" if _NO_TITLE.search(title.strip()) else title.strip()
    note = "some of its pages are damaged and were left out" if problems else ""
    return PlainText(text, title, tuple(starts), note)


def _open_pdf(data: bytes, opened: Any) -> Any:
    """Open a PDF with pypdf; if its cross-reference table is damaged, rebuild its trailer.

    ``opened`` is the function that opens a file with pypdf.
    """
    if b"%PDF-" not in data[:_HEADER] and b" obj" not in data:
        begin = data[:20].decode("latin-1")
        raise Unreadable("damaged PDF", f"it is no PDF: it begins with {begin!r}")
    try:
        return opened(io.BytesIO(data), strict=False)
    except Exception:  # on damaged files, pypdf raises exceptions of any class
        catalog = list(_CATALOG.finditer(data))
        if not catalog:
            raise
        number, generation = catalog[-1].groups()
        trailer = b"\ntrailer << /Root %s %s R >>\nstartxref\n0\n%%%%EOF\n" % (number, generation)
        return opened(io.BytesIO(data + trailer), strict=False)


def _raise_if_package_needed(error: Exception) -> None:
    """Raise ``Unreadable`` if the file's encryption requires a package beside pypdf."""
    if type(error).__name__ == "DependencyError" and "cryptography" in str(error):
        why = "it is encrypted by AES: pip install cryptography"
        raise Unreadable("no reader", why) from error


def _without_headers(pages: list[list[str]]) -> list[list[str]]:
    """Drop headers and footers: first and last lines that repeat on most pages except for numbers.

    A few empty lines separate paragraphs and are kept; many are an artefact and are dropped.
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


def _join_lines(pages: list[list[str]]) -> tuple[str, list[int]]:
    """Join lines into paragraphs; also return the offset of each page in the text.

    A PDF stores lines, not paragraphs. A short line that ends a sentence ends a paragraph. A short
    line without a sentence end is a heading if the next line begins with a capital. A word with a
    hyphen at the line end is joined if the next line begins in lower case.
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
                parts.append(
                    " " if before and _continues_paragraph(before, line, width) else "\n\n"
                )
                size += len(parts[-1])
            if line and len(starts) < number:
                starts.append(size)
            parts += [line] if line else []
            size, before = size + len(line), line
        starts += [size] * (number - len(starts))
    return "".join(parts), starts


def _continues_paragraph(before: str, line: str, width: int) -> bool:
    """True if ``line`` continues the paragraph of the line before it."""
    if _END.search(before):
        return len(before) >= 0.8 * width
    return len(before) >= 0.6 * width or not (line[:1].isupper() or line[:1].isdigit())
