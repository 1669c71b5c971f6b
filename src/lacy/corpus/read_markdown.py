"""Converts Markdown to plain text: it is rendered to HTML, whose visible text is extracted.

This way, paragraphs in ``<div>`` or ``<table>`` elements of a README are read as in a browser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from lacy.corpus._visible import visible

_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)??(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(.+?)[ \t]*$", re.MULTILINE)
_FOOTNOTE = re.compile(r"^( {0,3})\[\^[^\]\n]{1,60}\]:[ \t]*", re.MULTILINE)
_TO_FOOTNOTE = re.compile(r"(?<=\S)\[\^[^\]\s]{1,60}\]")
_SENTENCE = re.compile(r"(?:[^\W\d_]+[,;:]?[ \n]+){3}[^{}=;<>|]*[.!?…:][\"'”’)\]]*\s*\Z")
_CODE = re.compile(r"[{}=;|]|^\s*[$#>/]|\w\(|->", re.MULTILINE)
_TAG = re.compile(r"\s*</?[A-Za-z][^<>]*>")
_NESTED = 300
"""Most levels of lists and quotations; the parser's default drops text below 20 levels."""


def markdown_text(text: str) -> tuple[str, str]:
    """Text and title of CommonMark with tables and footnotes.

    Code blocks are left out because they contain no sentences; indented paragraphs of prose or HTML
    are read. The title is ``title:`` in the front matter, or else the first heading.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    title = ""
    if front := _FRONT.match(text):
        found = _FRONT_TITLE.search(front[2] or "")
        title, text = found[1].strip("\"'") if found else "", text[front.end() :]
    # A footnote of one word would be parsed as the address of a link, and disappear.
    text = _TO_FOOTNOTE.sub("", _FOOTNOTE.sub(r"\n\1", text))
    paragraphs, heading = visible(_renderer().render(text))
    return "\n\n".join(paragraphs), title or heading


def _renderer() -> Any:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True, "maxNesting": _NESTED})
    made.enable(["table", "strikethrough"])
    made.add_render_rule("fence", _fence)
    made.add_render_rule("code_block", _indented)
    made.add_render_rule("image", lambda *_: "")
    return made


def _fence(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    """A code block, which is left out."""
    del self, tokens, at, options, env
    return ""


def _indented(self: Any, tokens: Sequence[Any], at: int, options: Any, env: Any) -> str:
    """An indented block: code, unless it is prose, as in mails, or HTML that was indented."""
    del self, options, env
    content = tokens[at].content
    if _TAG.match(content):
        return str(content)
    blocks = re.split(r"\n[ \t]*\n", content)
    prose = [block for block in blocks if _SENTENCE.search(block) and not _CODE.search(block)]
    return "".join(f"<p>{escape(block)}</p>" for block in prose)
