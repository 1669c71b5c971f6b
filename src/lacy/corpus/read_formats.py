"""Markdown, HTML and PDF as plain text: paragraphs, a title, and where the pages of a PDF begin.

What is a page's frame (menus, headers and footers that repeat) is left out, so are blocks of code:
they hold no sentences. Paragraphs are separated by an empty line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lacy.corpus import encoding
from lacy.corpus._files import GUESSED
from lacy.corpus._plain import NOTE
from lacy.corpus._plain import Plain as Plain
from lacy.corpus._plain import Unreadable as Unreadable
from lacy.corpus._visible import visible
from lacy.corpus.read_markdown import markdown_text
from lacy.corpus.read_pdf import pdf

_DAMAGED = "some characters could not be decoded and are U+FFFD"


def markdown(data: bytes, codec: str | None = None) -> Plain:
    """Text of CommonMark with tables; the first heading (or ``title:`` above all) is the title."""
    try:
        found = encoding.decode(data, codec)
    except encoding.Undecodable as error:
        raise Unreadable("wrong encoding", str(error)) from None
    text, title = markdown_text(found.text)
    return Plain(text, title, note=GUESSED if found.guessed else "")


def html(data: bytes, codec: str | None = None) -> Plain:
    """The main text of a page and its title."""
    import trafilatura

    try:
        page = encoding.page(data, codec)
    except encoding.Undecodable as error:
        raise Unreadable("wrong encoding", str(error)) from None
    found = trafilatura.bare_extraction(page.text, include_comments=False, with_metadata=True)
    text, title = (found.text or "", found.title or "") if found else ("", "")
    text = text or trafilatura.html2txt(page.text) or "\n".join(visible(page.text)[0])
    paragraphs = (line.strip() for line in text.splitlines())
    note = GUESSED if page.guessed else _DAMAGED if "\ufffd" in text else ""
    return Plain("\n\n".join(filter(None, paragraphs)), " ".join(title.split()), note=note)


FORMATS: dict[str, Callable[..., Plain]] = {
    ".md": markdown, ".markdown": markdown, ".mdown": markdown, ".mkd": markdown,
    ".html": html, ".htm": html, ".xhtml": html, ".pdf": pdf,
}  # fmt: skip
"""Readers by suffix; each takes the bytes and an optional encoding."""


def fields(
    kind: str, data: bytes, text_field: str, codec: str | None = None
) -> Iterator[tuple[str, Any]]:
    """A file as a row: the text, a note, and title and pages if it has them."""
    plain = FORMATS[kind](data, codec)
    if plain.title:
        yield "title", plain.title.encode(errors="replace").decode()
    if plain.pages:
        yield "pages", list(plain.pages)
    if plain.note:
        yield NOTE, plain.note
    yield text_field, plain.text.encode(errors="replace").decode()
