"""How well patterns read births, deaths, nationalities and occupations of real people.

    python benchmarks/life_patterns.py --articles wiki.jsonl.gz --summaries vital_summaries.jsonl.gz

Two kinds of labels, neither made for the patterns:

- biographies state dates twice, in the bracket behind the name and in later sentences. What the
  patterns read in sentences is compared with the bracket (``agree``: no contradiction; ``years``:
  same year). Part of the disagreement is that of the articles themselves. ``found`` is the share of
  articles with a year in a bracket near the beginning whose date of birth is read there or later;
- Wikipedia's short descriptions ("Polish physicist (1867–1934)") are compared with what the leads
  say; occupations in other words ("writer", "novelist") count as disagreement.

Figures with 95% intervals (Wilson) go to ``results/life_patterns.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lacy.disk import write_atomic
from lacy.evaluate import by_relation, read_life
from lacy.evaluate.life_facts import LifeStatement
from lacy.results import ratio
from lacy.run import environment

RESULTS = Path(__file__).parent / "results" / "life_patterns.json"
_YEAR_IN_BRACKET = re.compile(r"\([^)]*\d{4}[^)]*\)")
_FIRST_SENTENCE = re.compile(r"(?<=[a-z]{2}[.])\s+(?=[A-Z])")
SHOWN = 40
"""Number of disagreements that are kept."""


def rows(path: Path) -> Iterator[dict]:
    """Yield the rows of a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--articles", type=Path, required=True, help="articles with is_biography")
    parser.add_argument("--summaries", type=Path, required=True, help="leads with descriptions")
    parser.add_argument("--limit", type=int, default=5_000, help="biographies")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    outcomes: dict[str, list[bool]] = defaultdict(list)
    shown: list[list[object]] = []
    begin, characters = time.process_time(), 0
    people = (row for row in rows(args.articles) if row.get("is_biography"))
    for _, row in zip(range(args.limit), people, strict=False):
        name, text = row["title"], row["text"]
        first, *rest = _FIRST_SENTENCE.split(text, maxsplit=1)
        characters += len(text)
        bracket = by_relation(read_life(first, name))
        later = by_relation(read_life(rest[0] if rest else "", name))
        if _YEAR_IN_BRACKET.search(text[:200]):
            outcomes["birth date: found"].append("birth date" in bracket or "birth date" in later)
        for relation in set(bracket) & set(later) - {"nationality", "occupation"}:
            known = [s for s in bracket[relation] if s.exact]
            said = [s for s in later[relation] if s.exact]
            if known and said:
                agree = all(any(s.agrees(k) for k in known) for s in said)
                outcomes[f"{relation}: agree"].append(agree)
                if relation.endswith("date"):
                    years = all(any(s.agrees_in_year(k) for k in known) for s in said)
                    outcomes[f"{relation}: years"].append(years)
                if not agree and len(shown) < SHOWN:
                    shown.append([name, relation, [s.text for s in known], [s.text for s in said]])
    seconds = time.process_time() - begin
    for row in rows(args.summaries):
        if not (row["topic"] or "").startswith("People"):
            continue
        found = re.fullmatch(r"(.*?) \((?:born )?[\d–—-]+\)", row["description"] or "")
        if not found:
            continue
        words = found[1].split()
        nation = " and ".join(w for w in re.split(r"[ -]", found[1]) if w[:1].isupper())
        trade = " ".join(word for word in words if word[:1].islower())
        said = by_relation(read_life(row["extract"], row["title"]))
        for relation, value in (("nationality", nation), ("occupation", trade)):
            if value:
                outcomes[f"{relation}: found"].append(relation in said)
                if relation in said:
                    truth = LifeStatement(relation, value)
                    agree = any(s.agrees(truth) for s in said[relation])
                    outcomes[f"{relation}: agree"].append(agree)
    scores = {}
    for name, right in sorted(outcomes.items()):
        score = ratio(right, [1] * len(right))
        scores[name] = [score.value, score.low, score.high, len(right)]
        print(f"{name:24} {score}")
    data = {
        "scores": scores, "disagreements": shown, "characters_per_cpu_second": characters / seconds,
        "environment": environment(),
    }  # fmt: skip
    write_atomic(args.out, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
