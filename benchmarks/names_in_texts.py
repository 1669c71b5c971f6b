"""Measure how often a text about a subject is linked to the right name, on real articles.

    OMP_NUM_THREADS=1 python benchmarks/names_in_texts.py --articles ARTICLES.jsonl.gz

Articles are JSON lines with a ``title``, a ``text`` and, for biographies, ``is_biography``. Titles
lose their disambiguation ("Paris (Texas)" becomes "Paris"); titles of several articles are left
out. An ``EntityLinker`` that knows the titles links the first sentence and the whole text of each
article, with exact names only and with similar ones. There are two databases: all titles, and a
random half (seed 0). In the second, any link for an article without its title there is wrong.

Right: the article's own title; another: any other title; none: no link. For articles that are not
in the database the text may begin with a longer form of the name ("Sir Ada King" for "Ada King"),
so a right and a wrong "none" are not distinguished. Intervals are Wilson's, over articles. Rows go
to ``results/names_in_texts.csv``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lacy.run import environment
from lacy.sources.names import EntityLinker

RESULTS = Path(__file__).parent / "results"
SENTENCE = re.compile(r"(?<=[^A-Z.][.!?])\s")


def articles_of(path: Path) -> list[tuple[str, str, bool]]:
    """Return title, text and kind (biography?) of the articles with a unique title."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    named = [(re.sub(r"\s*\([^()]*\)$", "", row["title"]), row) for row in rows]
    count = Counter(title for title, _ in named)
    return [
        (title, row["text"], bool(row.get("is_biography")))
        for title, row in named
        if count[title] == 1 and row["text"].strip()
    ]


def wilson(part: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share."""
    if not n:
        return math.nan, math.nan
    z, p = 1.96, part / n
    middle, wide = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (middle - wide) / scale, (middle + wide) / scale


def count_links(
    articles: Sequence[tuple[str, str, bool]], known: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield a row for each kind of article, length of text and linking method."""
    names = set(known)
    for fuzzy in (False, True):
        linker = EntityLinker(known, fuzzy=fuzzy)
        for people in (True, False):
            chosen = [(title, text) for title, text, person in articles if person == people]
            for length in ("first sentence", "whole text"):
                found: Counter[str] = Counter()
                for title, text in chosen:
                    query = SENTENCE.split(text, 1)[0] if length == "first sentence" else text
                    link, _ = linker.find(query)
                    what = "none" if link is None else "right" if link.name == title else "another"
                    found[f"{'known' if title in names else 'unknown'}_{what}"] += 1
                n = sum(count for kind, count in found.items() if kind.startswith("known"))
                low, high = wilson(found["known_right"], n)
                yield {
                    "database": len(known), "articles": "biographies" if people else "others",
                    "text": length, "similar": fuzzy, "known": n,
                    "right": found["known_right"], "another": found["known_another"],
                    "right_share": round(found["known_right"] / n, 4),
                    "low": round(low, 4), "high": round(high, 4),
                    "unknown": sum(found.values()) - n,
                    "unknown_linked": found["unknown_another"],
                }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--articles", type=Path, required=True, help="articles as gzipped JSON lines"
    )
    given = parser.parse_args()
    articles = articles_of(given.articles)
    titles = sorted(title for title, _, _ in articles)
    half = sorted(random.Random(0).sample(titles, len(titles) // 2))
    rows = [row for known in (titles, half) for row in count_links(articles, known)]
    here = environment()
    for row in rows:
        row |= {"seed": 0, "python": here["python"], "lacy": here["lacy"]}
        print(*(f"{name} {value}" for name, value in row.items()))
    with (RESULTS / "names_in_texts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
