"""Measure how often the right value is among the candidates, on real articles with labelled values.

    OMP_NUM_THREADS=1 python benchmarks/texts_recall.py judge/lmlm_dwiki_830.json

In these articles a judge (LMLM's annotator) labelled the values of facts. Each article is in the
index. For every labelled value there is a request with the text before it and the subject. There
are two indices: ``labels`` contains the labelled values themselves, so that only the search can
miss them; ``rules`` contains what spaCy's rules find in the unlabelled text, as for any user.

A value is ``offered`` if it is among the candidates. Otherwise it was

- ``unmarked``: no value of the article is exactly these words (for ``rules``: another boundary, or
  no value at all);
- ``elsewhere``: it is in a passage that was not used;
- ``cut``: it was in a passage that was used, but the list of candidates ended before it.

One row per index, passages and candidates goes to ``results/texts_recall.csv``, with a 95%
bootstrap interval over articles; ``share``: candidates per request.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from lacy.annotate import read_labels
from lacy.errors import one_line
from lacy.sources.texts import Documents, marked_values, subject_of
from lacy.types import Document, Request

RESULTS = Path(__file__).parent / "results"
SETTINGS = ((4, 24), (4, 48), (8, 24), (8, 48), (16, 96))


def fate(source: Documents, request: Request, value: str, known: set[str]) -> tuple[str, int]:
    """Return what happened to a value, and the number of candidates."""
    [reply] = asyncio.run(source.ask([request]))
    found = {candidate.text.strip() for candidate in reply.candidates}
    if value in found:
        return "offered", len(found)
    if value not in known:
        return "unmarked", len(found)
    limit, source.candidates = source.candidates, 10_000
    [reply] = asyncio.run(source.ask([request]))
    source.candidates = limit
    every = {candidate.text.strip() for candidate in reply.candidates}
    return ("cut" if value in every else "elsewhere"), len(found)


def measure(what: str, source: Documents, documents: list[Document]) -> list[dict]:
    known = {d.id: {one_line(d.text[m.start : m.end]) for m in d.marks} for d in source.documents()}
    lines = []
    for source.passages, source.candidates in SETTINGS:
        fates, shares, offered = Counter(), [], []
        for document in documents:
            subject, hits = subject_of(document), []
            for mark, value in marked_values(document.text, document.marks, subject):
                text = document.text[: mark.start].rstrip()
                if not text:
                    continue
                request = Request(text, subject=subject)
                how, many = fate(source, request, value, known.get(document.id, set()))
                fates[how] += 1
                shares.append(many)
                hits.append(how == "offered")
            if hits:
                offered.append((sum(hits), len(hits)))
        pairs = np.array(offered)
        draws = np.random.default_rng(0).integers(0, len(pairs), (1000, len(pairs)))
        sums = pairs[draws].sum(axis=1)
        low, high = np.quantile(sums[:, 0] / sums[:, 1], (0.025, 0.975))
        total = sum(fates.values())
        lines.append({
            "index": what, "passages": source.passages, "candidates": source.candidates,
            "articles": len(offered), "values": total,
            "offered": round(fates["offered"] / total, 4), "low": round(float(low), 4),
            "high": round(float(high), 4),
            **{how: round(fates[how] / total, 4) for how in ("unmarked", "elsewhere", "cut")},
            "share": round(float(np.mean(shares)), 1),
        })  # fmt: skip
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("--articles", type=int, default=150)
    parser.add_argument("--engine", choices=("fts5", "tantivy"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    every = list(read_labels(args.labels))
    chosen = every[: args.articles]
    unlabelled = [Document(d.id, d.text, d.meta) for d in chosen]
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for what, documents in (("labels", every), ("rules", unlabelled)):
            folder = Path(place) / what
            with Documents.build(documents, folder, engine=args.engine) as source:
                lines += measure(what, source, chosen)
    with (args.out / "texts_recall.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
