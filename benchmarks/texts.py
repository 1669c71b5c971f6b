"""Measure texts as a source at scale: time and size of an index, response time, recall of passages.

    OMP_NUM_THREADS=1 python benchmarks/texts.py [--articles wiki/train.jsonl.gz]

Collections:

- ``template``: 200,000 texts of one passage, made from one sentence (``sources.py``), so that
  nearly all contain every search word: hard for a search by words.
- ``articles`` (if a file is given): real articles, split into passages. Capitalised words and
  numbers count as values, so that no annotator is timed.

Each is indexed by both engines, and the articles also with vectors (by default made from
themselves by latent semantic analysis). Questions:

- ``subject``: the subject of a text, and the beginning of a sentence of its passage.
- ``no subject``: the beginning of a sentence without all its names (capitalised words), up to a
  value. ``found``: the passage it comes from is among the first four.

Rows go to ``results/texts.csv``, the setup to ``results/texts.json``. Times are of single requests;
intervals are 95% bootstrap intervals of the p95 over requests.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import lacy
from lacy.run import environment
from lacy.sources.texts import Documents
from lacy.types import Document, Mark, Request
from sources import FIELDS, PLACES, RESULTS, name_of, text_of

VALUE = re.compile(r"\b\d[\d,.]*\d\b|\b\d\b|(?<=[a-z,;] )[A-Z]\w+(?: [A-Z]\w+)*")
CAPITAL = re.compile(r"\b[^\W\d_a-z]\w*")
SENTENCE = re.compile(r"[^.!?\n]{40,}")
FIRST = 4
"""Passages whose values are offered by default."""


@dataclass
class Question:
    """A request, and a part of the passage that it was made from."""

    request: Request
    part: str = ""


def articles(path: Path, limit: int | None) -> Iterator[Document]:
    for document in lacy.read(path, limit=limit):
        marks = tuple(Mark(m.start(), m.end(), "ENTITY") for m in VALUE.finditer(document.text))
        yield Document(document.id, document.text, document.meta, marks)


def template_questions(count: int, texts: int, rng: random.Random) -> dict[str, list[Question]]:
    known = [name_of(n) for n in rng.sample(range(texts), count)]
    return {
        "subject": [Question(Request(f"{name} was born on")) for name in known],
        "no subject": [
            Question(Request(f"the one who taught {rng.choice(FIELDS)} in {place} on"))
            for place in rng.choices(PLACES, k=count // 4)
        ],
    }


def article_questions(
    path: Path, limit: int | None, count: int, rng: random.Random
) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {"subject": [], "no subject": []}
    every = list(lacy.read(path, limit=limit))
    while min(map(len, found.values())) < count:
        document = rng.choice(every)
        title = document.meta.get("title") or ""
        sentences = [m.group().strip() for m in SENTENCE.finditer(document.text[len(title) :])]
        if not sentences or not title:
            continue
        sentence = rng.choice(sentences)
        values = [m.start() for m in VALUE.finditer(sentence) if m.start() > 30]
        if not values:
            continue
        begin = sentence[: rng.choice(values)].rstrip()
        without_names = " ".join(CAPITAL.sub(" ", begin).split())
        if len(without_names.split()) < 4:
            continue
        found["subject"].append(Question(Request(begin, subject=title), begin))
        found["no subject"].append(Question(Request(without_names), begin))
    return {name: questions[:count] for name, questions in found.items()}


def make_vectors(texts: list[str], folder: Path) -> Path:
    """Make vectors from the texts by latent semantic analysis (tf-idf, then an SVD).

    This needs no trained model: words of the same passages get similar vectors.
    """
    from model2vec import StaticModel
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    counting = TfidfVectorizer(
        min_df=2, max_df=0.5, max_features=60_000, sublinear_tf=True, dtype=np.float32
    )
    table = counting.fit_transform(texts)
    svd = TruncatedSVD(min(128, min(table.shape) - 1), n_iter=2, random_state=0).fit(table)
    found = svd.components_.T * counting.idf_[:, None]
    vocabulary = {"[UNK]": 0, **{word: n + 1 for word, n in counting.vocabulary_.items()}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.vstack([np.zeros((1, found.shape[1])), found]).astype(np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder)
    return folder


def timed(source: Documents, questions: list[Question]) -> tuple[np.ndarray, float]:
    """Return the milliseconds of each request, and the share that got candidates."""

    async def ask() -> tuple[list[float], int]:
        took, answered = [], 0
        for question in questions:
            begin = time.perf_counter()
            (reply,) = await source.ask([question.request])
            took.append(1000 * (time.perf_counter() - begin))
            answered += bool(reply.candidates)
        return took, answered

    took, answered = asyncio.run(ask())
    return np.array(took), answered / len(questions)


def first(source: Documents, request: Request) -> list[tuple[int, float]]:
    subject = request.subject or source.names.find(request.text) or ""
    return source._search(request, subject)[:FIRST]


def finds(source: Documents, question: Question) -> bool:
    """True if the passage with the question's text is among the first."""
    return any(contains(source, n, question.part) for n, _ in first(source, question.request))


def contains(source: Documents, passage: int, text: str) -> bool:
    """True if a passage contains a text."""
    query = (
        "SELECT substr(text, start + 1, stop - start) FROM passage"
        " JOIN document ON document.id = document WHERE passage.id = ?"
    )
    [found] = source._db.execute(query, (passage,)).fetchone()
    return text in found


def folder_size(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def measure(
    what: str, engine: str, source: Documents, questions_by_kind: dict, more: dict
) -> list[dict]:
    lines = []
    for about, questions in questions_by_kind.items():
        timed(source, questions[:3])
        took, answered = timed(source, questions)
        draws = np.random.default_rng(0).choice(took, (1000, len(took)))
        low, high = np.quantile(np.quantile(draws, 0.95, axis=1), (0.025, 0.975))
        with_part = [q for q in questions if q.part]
        line = {
            "collection": what, "engine": engine, "about": about, **more, "n": len(took),
            "answered": answered,
            "found": np.mean([finds(source, q) for q in with_part] or [np.nan]),
            "median_ms": np.median(took), "p95_ms": np.quantile(took, 0.95), "low": low,
            "high": high, "max_ms": took.max(),
        }  # fmt: skip
        lines.append(
            {k: round(float(v), 3) if isinstance(v, float) else v for k, v in line.items()}
        )
        print(lines[-1], flush=True)
    return lines


def agreement(one: Documents, other: Documents, questions: list[Question]) -> float:
    """Return the share of one source's first passages that the other also has among its first."""
    shares = []
    for question in questions:
        a, b = ({p[:1] for p in first(source, question.request)} for source in (one, other))
        if a or b:
            shares.append(len(a & b) / max(len(a), len(b)))
    return float(np.mean(shares))


def collection(
    what: str, supply, questions_by_kind: dict, folder: Path, settings: list[tuple]
) -> list[dict]:
    lines, opened = [], {}
    for engine, vectors in settings:
        name = engine + (" + vectors" if vectors else "")
        place = folder / f"{what}-{name.replace(' ', '')}"
        begin = time.perf_counter()
        Documents.build(supply(), place, engine=engine, vectors=vectors).close()
        built = time.perf_counter() - begin
        begin = time.perf_counter()
        source = opened[name] = Documents(place)
        more = {
            "passages": source._db.execute("SELECT COUNT(*) FROM passage").fetchone()[0],
            "build_s": built, "open_s": time.perf_counter() - begin, "mib": folder_size(place),
        }  # fmt: skip
        lines += measure(what, name, source, questions_by_kind, more)
        if source._vectors is not None:
            vectors_alone = [q for q in questions_by_kind["no subject"] if q.part]
            hits = [finds_by_vectors(source, q) for q in vectors_alone]
            lines.append({**lines[-1], "engine": "vectors alone", "found": float(np.mean(hits))})
            print(lines[-1], flush=True)
    plain = [opened[engine] for engine, vectors in settings if not vectors]
    for about, questions in questions_by_kind.items():
        print(what, about, "agreement of engines", round(agreement(*plain[:2], questions), 3))
    for source in opened.values():
        source.close()
    return lines


def finds_by_vectors(source: Documents, question: Question) -> bool:
    """True if the vectors alone find the passage."""
    near = source._vectors.near(question.request.text, FIRST)
    return any(contains(source, passage, question.part) for passage, _ in near)


def template(count: int) -> Iterator[Document]:
    """Return the texts of the template."""
    return map(text_of, range(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--articles", type=Path, help="JSON lines with id, title, text")
    parser.add_argument("--limit", type=int, help="maximum number of articles")
    parser.add_argument("--vectors", help="a model2vec model (default: made from the articles)")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    engines = [("fts5", None), ("tantivy", None)]
    lines = []
    with tempfile.TemporaryDirectory() as place:
        if args.texts:
            questions = template_questions(args.requests, args.texts, rng)
            lines += collection(
                "template", partial(template, args.texts), questions, Path(place), engines
            )
        if args.articles:
            questions = article_questions(args.articles, args.limit, args.requests, rng)
            supply = partial(articles, args.articles, args.limit)
            vectors = args.vectors
            if vectors is None:
                passages = [p for d in supply() for p in d.text.split("\n") if len(p) > 40]
                rng.shuffle(passages)
                vectors = str(make_vectors(passages[:100_000], Path(place) / "learned"))
            settings = [*engines, ("fts5", vectors)]
            lines += collection("articles", supply, questions, Path(place), settings)
    with (args.out / "texts.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    setup = {
        "command": "python benchmarks/texts.py --articles wiki/train.jsonl.gz", "seed": args.seed,
        "texts": args.texts, "vectors": args.vectors or "made from the articles",
        "environment": environment(),
    }  # fmt: skip
    (args.out / "texts.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
