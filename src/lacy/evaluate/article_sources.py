"""Open the sources that answer calls in an evaluation on articles, and make the prompts.

The article itself can answer in two forms. ``values`` is a database of the names, numbers and dates
that an annotator found in it; ``documents`` is an index of the articles' texts, which has to find a
passage first. Any other name, such as that of a larger model, is opened as on the command line.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lacy._text import normalized_words
from lacy.annotate.grammar import trim_value
from lacy.evaluate.entities import ArticleText, Extract
from lacy.types import Document, Mark

if TYPE_CHECKING:
    from lacy.sources import Source

PROMPT_WORDS = 4
"""Number of words in the prompt if an article's text does not begin with its title."""

NO_SOURCE, VALUES, DOCUMENTS = "", "values", "documents"
"""Names of sources: none, a database of the article's values, an index of the articles."""


@contextmanager
def open_article_source(
    name: str, articles: Sequence[Document], extract: Extract, prompts: Sequence[str]
) -> Iterator[tuple[Source | None, list[str | None]]]:
    """Open a source for articles.

    Args:
        name: ``values``, ``documents``, "" for none, or a name as in ``lacy.sources.open_source``.
        articles: the articles that are to be continued.
        extract: finds their values.
        prompts: the beginning of each article, whose values are known already.

    Yields:
        The source, and the subject of each article as this source knows it.
    """
    from lacy.sources import open_source
    from lacy.sources.db import Database
    from lacy.sources.texts import Documents

    with TemporaryDirectory() as folder:
        if name == NO_SOURCE:
            yield None, [None] * len(articles)
        elif name == VALUES:
            path = Path(folder) / "articles.sqlite"
            marked = mark_values(articles, extract, prompts)
            write_values(path, ((article_subject(a), a.text, a.marks) for a in marked))
            with Database(path, name="article") as database:
                yield database, [article_subject(a) for a in articles]
        elif name == DOCUMENTS:
            marks = extract([a.text for a in articles])
            texts = [replace(a, marks=tuple(m)) for a, m in zip(articles, marks, strict=True)]
            Documents.build(texts, Path(folder) / "index").close()
            with Documents(Path(folder) / "index", name="articles") as index:
                titles = [str(a.meta["title"]) if a.meta.get("title") else None for a in articles]
                yield index, titles
        else:
            titles = [str(a.meta["title"]) if a.meta.get("title") else None for a in articles]
            yield open_source(name), titles


def mark_values(
    articles: Sequence[Document], extract: Extract, prompts: Sequence[str] | None = None
) -> list[Document]:
    """Return the articles with marks on the values that a call can return.

    Only the first mention of a value is marked. What the prompt already gives, such as the
    subject's name or a part of it, is not marked.

    Args:
        articles: the articles.
        extract: finds their values.
        prompts: the beginning of each that is given; by default ``article_prompt``.
    """
    prompts = [article_prompt(a) for a in articles] if prompts is None else prompts
    marked_articles = []
    marks = extract([article.text for article in articles])
    for article, article_marks, prompt in zip(articles, marks, prompts, strict=True):
        prompt_text, seen, values = ArticleText(prompt), set[tuple[str, ...]](), []
        for mark in article_marks:
            start, end = trim_value(article.text, mark.start, mark.end)
            value = article.text[start:end]
            key = tuple(normalized_words(value))
            if mark.reason == "CONTENT" or not key or key in seen or prompt_text.contains(value):
                continue
            seen.add(key)
            values.append(replace(mark, start=start, end=end))
        marked_articles.append(replace(article, marks=tuple(values)))
    return marked_articles


def write_values(path: Path, annotated: Iterable[tuple[str, str, Sequence[Mark]]]) -> None:
    """Write a database ``fact(subject, relation, value)`` of marked values.

    Args:
        path: a file that does not exist yet.
        annotated: subject, text and marks of each article. A mark without a relation is stored
            under its reason.
    """
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.execute("CREATE INDEX fact_subject ON fact (subject)")
        for subject, text, marks in annotated:
            rows = [
                (subject, mark.relation or mark.reason, text[mark.start : mark.end])
                for mark in marks
                if mark.reason != "CONTENT"
            ]
            db.executemany("INSERT INTO fact VALUES (?, ?, ?)", dict.fromkeys(rows))


def article_subject(article: Document) -> str:
    """Return the subject of an article as a name that no other article has."""
    title = article.meta.get("title")
    return f"{title} ({article.id})" if isinstance(title, str) and title else article.id


def article_prompts(
    articles: Sequence[Document], extract: Extract, words: int | None = None
) -> list[str]:
    """Return the beginning of each article that a model continues.

    Args:
        articles: the articles.
        extract: finds their values; no beginning ends inside a value.
        words: number of words, at most half of an article's; None for ``article_prompt``.
    """
    if words is None:
        return [article_prompt(article) for article in articles]
    found = extract([article.text for article in articles])
    return [_beginning(a.text, marks, words) for a, marks in zip(articles, found, strict=True)]


def _beginning(text: str, marks: Sequence[Mark], words: int) -> str:
    """Return the first words of a text; stop before a value that would be cut in two."""
    found = list(re.finditer(r"\S+", text))
    if not found:
        return text
    end = found[min(words, max(1, len(found) // 2)) - 1].end()
    cut = [m.start for m in marks if m.reason != "CONTENT" and m.start < end < m.end]
    shorter = text[: min([end, *cut])].rstrip()
    return shorter or text[:end]


def article_prompt(article: Document) -> str:
    """Return the prompt: the title if the text begins with it, otherwise a few words."""
    title = article.meta.get("title")
    if isinstance(title, str) and title and article.text.startswith(title):
        return title
    beginning = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", article.text)
    return beginning.group() if beginning else article.text
