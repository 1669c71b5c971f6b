"""Closed domains with exact truth for ``blade.py``: elements, countries, ICD-10-CM codes.

Every fact is a sentence of a short text (what a small model is trained on and retrieval searches)
and a triple of question, sentence and answer. Facts are split at random: triples to tune on, a
development set to optimise on, and a test set. The texts contain all facts, so the questions of the
test are answerable, but their triples were never seen.
"""

from __future__ import annotations

import random
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from lacy.almanac import load_subjects
from lacy.blade import Triple
from lacy.types import Document, Mark

DEV, TEST, EXAMPLES = 40, 120, 4
ICD_CODES, ICD_WORDS = 150, 4

TEMPLATES = {
    "elements": {
        "symbol": ("What is the chemical symbol of {name}?",
                   "The chemical symbol of {name} is {value}."),
        "atomic number": ("What is the atomic number of {name}?",
                          "The atomic number of {name} is {value}."),
        "discovered in": ("In which country was {name} discovered?",
                          "{name} was discovered in {value}."),
        "discovered": ("In which year was {name} discovered?",
                       "The year of the discovery of {name} is {value}."),
    },
    "countries": {
        "capital": ("What is the capital of {name}?", "The capital of {name} is {value}."),
        "region": ("In which region of the world is {name}?", "{name} lies in {value}."),
        "currency": ("What is the currency of {name}?", "The currency of {name} is the {value}."),
    },
    "icd": {
        "name": ("What does the ICD-10-CM code {name} stand for?",
                 "The ICD-10-CM code {name} stands for {value}."),
        "chapter": ("To which chapter of ICD-10-CM does the code {name} belong?",
                    "The code {name} belongs to the chapter {value}."),
    },
}  # fmt: skip
"""Question and sentence of each kind of fact."""

CHAPTERS = (
    ("A00", "Infectious diseases"), ("C00", "Neoplasms"), ("D50", "Blood"),
    ("E00", "Endocrine diseases"), ("F01", "Mental disorders"), ("G00", "Nervous system"),
    ("H00", "Eye"), ("H60", "Ear"), ("I00", "Circulatory system"), ("J00", "Respiratory system"),
    ("K00", "Digestive system"), ("L00", "Skin"), ("M00", "Musculoskeletal system"),
    ("N00", "Genitourinary system"), ("O00", "Pregnancy"), ("P00", "Perinatal conditions"),
    ("Q00", "Congenital malformations"), ("R00", "Symptoms"), ("S00", "Injury and poisoning"),
    ("U00", "Special purposes"), ("V00", "External causes"), ("Z00", "Contact with services"),
)  # fmt: skip
"""First code and short name of the chapters of ICD-10-CM, in the order of the codes."""


@dataclass(frozen=True)
class Domain:
    """A closed domain."""

    documents: list[Document]
    train: list[Triple]
    dev: list[Triple]
    test: list[Triple]
    examples: list[Triple]


def make_domain(name: str, icd: Path | None = None, seed: int = 0) -> Domain:
    """Return a domain: its texts with marks, and its triples split into parts."""
    facts = _icd(icd, seed) if name == "icd" else _almanac(name)
    documents, triples = [], []
    for subject, values in facts.items():
        text, marks = "", []
        for relation, value in values.items():
            question, sentence = TEMPLATES[name][relation]
            written = sentence.format(name=subject, value=value)
            start = len(text) + written.rindex(value)
            marks.append(Mark(start, start + len(value), "VALUE", relation))
            text += written + " "
            triples.append(
                Triple(question.format(name=subject), value, written, subject=subject,
                       source=relation, id=f"{subject}:{relation}")
            )  # fmt: skip
        documents.append(Document(subject, text.strip(), {"title": subject}, tuple(marks)))
    random.Random(seed).shuffle(triples)
    rest = triples[DEV + TEST :]
    return Domain(
        documents, rest, triples[:DEV], triples[DEV : DEV + TEST], _one_per_kind(name, rest)
    )


def _one_per_kind(name: str, triples: list[Triple]) -> list[Triple]:
    """Return examples of all kinds of facts in turn."""
    kinds = list(TEMPLATES[name])
    by_kind = {kind: [one for one in triples if one.source == kind] for kind in kinds}
    return [by_kind[kinds[n % len(kinds)]][n // len(kinds)] for n in range(EXAMPLES)]


def _almanac(name: str) -> dict[str, dict[str, str]]:
    kind = {"elements": "element", "countries": "country"}[name]
    return {
        one.name: {relation: one.facts[relation] for relation in TEMPLATES[name]
                   if one.facts.get(relation)}
        for one in load_subjects([kind])
    }  # fmt: skip


def _icd(database: Path | None, seed: int) -> dict[str, dict[str, str]]:
    """Return categories (three characters) with short names, drawn at random."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT code, long_name FROM cm_codes WHERE length(code) = 3").fetchall()
    usable = [
        (code, name) for code, name in sorted(rows)
        if len(name.split()) <= ICD_WORDS and re.fullmatch(r"[A-Za-z' -]+", name)
    ]  # fmt: skip
    drawn = sorted(random.Random(seed).sample(usable, ICD_CODES))
    return {
        code: {"name": name, "chapter": [title for first, title in CHAPTERS if first <= code][-1]}
        for code, name in drawn
    }
