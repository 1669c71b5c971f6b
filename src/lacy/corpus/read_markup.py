"""Convert Markdown and HTML to plain text: paragraphs separated by blank lines, and a title.

Markdown is first rendered to HTML, and then the visible_text text is extracted, so that paragraphs
in ``<div>`` or ``<table>`` elements of a README are read as in a browser. For HTML pages,
trafilatura extracts the main text without menus and other boilerplate. Code blocks are dropped
because they contain no sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from typing import Any

from lacy.corpus import encoding
from lacy.corpus.files import GUESSED_NOTE, PlainText, Unreadable

_DAMAGED = "some characters could not be decoded and are U+FFFD"

_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)??(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(.+?)[ \t]*$", re.MULTILINE)
_FOOTNOTE = re.compile(r"^( {0,3})\[\^[^\]\n]{1,60}\]:[ \t]*", re.MULTILINE)
_TO_FOOTNOTE = re.compile(r"(?<=\S)\[\^[^\]\s]{1,60}\]")
_SENTENCE = re.compile(r"(?:[^\W\d_]+[,;:]?[ \n]+){3}[^{}=;<>|]*[.!?…:][\"'”’)\]]*\s*\Z")
_CODE = re.compile(r"[{}=;|]|^\s*[$#>/]|\w\(|->", re.MULTILINE)
_TAG = re.compile(r"\s*</?[A-Za-z][^<>]*>")
_MAX_NESTING = 300
"""Maximum nesting of lists and quotations; the default drops text deeper than 20 levels."""


def markdown_text(text: str) -> tuple[str, str]:
    """Return text and title of CommonMark with tables and footnotes.

    Code blocks are dropped because they contain no sentences; indented paragraphs of prose or HTML
    are kept. The title is ``title:`` in the front matter, or else the first heading.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    title = ""
    if front := _FRONT.match(text):
        match = _FRONT_TITLE.search(front[2] or "")
        title, text = match[1].strip("\"'") if match else "", text[front.end() :]
    # Without this, markdown-it takes a one-word footnote for a link definition and drops it.
    text = _TO_FOOTNOTE.sub("", _FOOTNOTE.sub(r"\n\1", text))
    paragraphs, heading = visible_text(_renderer().render(text))
    return "\n\n".join(paragraphs), title or heading


def _renderer() -> Any:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True, "maxNesting": _MAX_NESTING})
    made.enable(["table", "strikethrough"])
    made.add_render_rule("fence", _fence)
    made.add_render_rule("code_block", _indented_block)
    made.add_render_rule("image", lambda *_: "")
    return made


def _fence(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    """Drop a fenced code block."""
    del self, tokens, at, options, env
    return ""


def _indented_block(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    """Drop an indented code block, but keep indented prose (as in emails) and indented HTML."""
    del self, options, env
    content = tokens[at].content
    if _TAG.match(content):
        return str(content)
    blocks = re.split(r"\n[ \t]*\n", content)
    prose = [block for block in blocks if _SENTENCE.search(block) and not _CODE.search(block)]
    return "".join(f"<p>{escape(block)}</p>" for block in prose)


def markdown_to_text(data: bytes, codec: str | None = None) -> PlainText:
    """Decode Markdown and convert it to text; see ``markdown_text``."""
    try:
        found = encoding.decode_text(data, codec)
    except encoding.Undecodable as error:
        raise Unreadable("wrong encoding", str(error)) from None
    text, title = markdown_text(found.text)
    return PlainText(text, title, note=GUESSED_NOTE if found.guessed else "")


def html_to_text(data: bytes, codec: str | None = None) -> PlainText:
    """Extract the main text and the title of a page."""
    import trafilatura

    try:
        page = encoding.decode_page(data, codec)
    except encoding.Undecodable as error:
        raise Unreadable("wrong encoding", str(error)) from None
    found = trafilatura.bare_extraction(page.text, include_comments=False, with_metadata=True)
    text, title = (found.text or "", found.title or "") if found else ("", "")
    text = text or trafilatura.html2txt(page.text) or "\n".join(visible_text(page.text)[0])
    paragraphs = (line.strip() for line in text.splitlines())
    note = GUESSED_NOTE if page.guessed else _DAMAGED if "\ufffd" in text else ""
    return PlainText("\n\n".join(filter(None, paragraphs)), " ".join(title.split()), note=note)


_BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav"
    " ol optgroup option p pre search section select summary table tbody text textarea tfoot thead"
    " title tr ul"
    .split()
)  # fmt: skip
_HIDDEN = frozenset(
    "script style template head title noscript canvas iframe object audio video datalist noembed"
    " noframes rp annotation annotation-xml desc metadata defs".split()
)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_CELLS = frozenset(("td", "th"))
_COMMENT = re.compile(r"<!--(?:-?>|.*?(?:--!?>|\Z))", re.DOTALL)
_CUT = re.compile(r"<[/!?]?[A-Za-z][^<>]*\Z")
_SPACE = re.compile(r"[ \t\n\r\f]+")
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


class _VisibleText(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self.title = ""
        self._buffer: list[str] = []
        self._rows: list[list[str]] = []
        self._hidden: list[str] = []
        self._preformatted = 0
        self._heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            if tag == self._hidden[-1] and tag not in _VOID:
                self._hidden.append(tag)
            return
        given = dict(attrs)
        hides = "hidden" in given or _NOT_SHOWN.search(given.get("style") or "")
        if tag in _HIDDEN or (hides and tag not in _VOID):
            self._hidden.append(tag)
            self._buffer.append(" " * (tag in _HIDDEN))
            return
        if tag in _BLOCKS:
            self._end()
        self._preformatted += tag == "pre"
        if tag == "br":
            self._buffer.append("\n")
        elif tag in _HEADINGS:
            self._heading = True
        elif tag == "tr":
            self._rows.append([])
        elif tag in _CELLS:
            self._cell()

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[-1]:
                self._hidden.pop()
            return
        if tag in _CELLS:
            self._cell()
        if tag in _BLOCKS or tag in _HEADINGS:
            self._end()
        if tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
        if tag in ("tr", "table"):
            self._row()
        if tag in _HEADINGS:
            self._heading = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # browsers read <div/> as <div>

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._buffer.append(data if self._preformatted else _SPACE.sub(" ", data))

    def unknown_decl(self, data: str) -> None:
        """Ignore a CDATA section; in HTML it is a comment."""

    def finish(self) -> None:
        """Close all open elements."""
        self.close()
        self._end()
        while self._rows:
            self._row()

    def _text(self) -> str:
        text = "".join(self._buffer)
        self._buffer = []
        lines = (line.strip(" \t\r\f") for line in re.sub(r" {2,}", " ", text).split("\n"))
        return "\n".join(filter(None, lines))

    def _cell(self) -> None:
        """End a table cell, if one is open."""
        text = self._text()
        if text:
            (self._rows[-1] if self._rows else self.paragraphs).append(text)

    def _end(self) -> None:
        """End a paragraph; inside a table row it becomes a cell."""
        text = self._text()
        if not text:
            return
        if self._heading and not self.title:
            self.title = " ".join(text.split())
        (self._rows[-1] if self._rows else self.paragraphs).append(text)

    def _row(self) -> None:
        """End a table row and join its cells with commas."""
        self._end()
        if self._rows:
            cells = self._rows.pop()
            if cells:
                (self._rows[-1] if self._rows else self.paragraphs).append(", ".join(cells))


def visible_text(html: str) -> tuple[list[str], str]:
    """Return the paragraphs that a browser would show, and the first heading.

    Table rows become paragraphs with commas between the cells. Collapsed text (``<details>``) is
    included; text that scripts would add is not.
    """
    reader = _VisibleText()
    reader.feed(_CUT.sub("", _COMMENT.sub("", html)))
    reader.finish()
    return reader.paragraphs, reader.title
