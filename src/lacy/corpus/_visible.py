"""The visible text of HTML, as paragraphs, without hidden elements.

Used only for Markdown: trafilatura extracts the main text of HTML pages. The parser of the standard
library accepts any input, however broken.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

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


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self.title = ""
        self._said: list[str] = []
        self._rows: list[list[str]] = []
        self._hidden: list[str] = []
        self._kept = 0
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
            self._said.append(" " * (tag in _HIDDEN))
            return
        if tag in _BLOCKS:
            self._end()
        self._kept += tag == "pre"
        if tag == "br":
            self._said.append("\n")
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
            self._kept = max(0, self._kept - 1)
        if tag in ("tr", "table"):
            self._row()
        if tag in _HEADINGS:
            self._heading = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # browsers read <div/> as <div>

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._said.append(data if self._kept else _SPACE.sub(" ", data))

    def unknown_decl(self, data: str) -> None:
        """A CDATA section in HTML is a comment."""

    def finish(self) -> None:
        """Closes all open elements."""
        self.close()
        self._end()
        while self._rows:
            self._row()

    def _text(self) -> str:
        said = "".join(self._said)
        self._said = []
        lines = (line.strip(" \t\r\f") for line in re.sub(r" {2,}", " ", said).split("\n"))
        return "\n".join(filter(None, lines))

    def _cell(self) -> None:
        """Ends a cell of a table, where one is open."""
        text = self._text()
        if text:
            (self._rows[-1] if self._rows else self.paragraphs).append(text)

    def _end(self) -> None:
        """Ends a paragraph; inside a row of a table it becomes a cell."""
        text = self._text()
        if not text:
            return
        if self._heading and not self.title:
            self.title = " ".join(text.split())
        (self._rows[-1] if self._rows else self.paragraphs).append(text)

    def _row(self) -> None:
        """Ends a row of a table: its cells with commas between them."""
        self._end()
        if self._rows:
            cells = self._rows.pop()
            if cells:
                (self._rows[-1] if self._rows else self.paragraphs).append(", ".join(cells))


def visible(html: str) -> tuple[list[str], str]:
    """The paragraphs that a browser shows, and the first heading.

    Rows of tables are paragraphs, their cells with commas between them. What scripts would add is
    not there; what waits for a click (``<details>``) is.
    """
    reader = _Reader()
    reader.feed(_CUT.sub("", _COMMENT.sub("", html)))
    reader.finish()
    return reader.paragraphs, reader.title
