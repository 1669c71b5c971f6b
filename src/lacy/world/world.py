"""A made-up world: all facts about its people are known, and biographies state them freely.

Physics of Language Models 3.3 (arXiv 2404.05405) measures knowledge in such worlds. A study of
*calls* also needs character marks of all facts, wording that is as hard to predict as the facts,
and a reader that extracts the claims from a generated text; this world adds them.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from lacy._parse import parse_json
from lacy._require import require_at_least
from lacy.disk import replace_file
from lacy.errors import LacyError
from lacy.types import Document
from lacy.world.mistakes import wrong_values
from lacy.world.people import RELATIONS, Person, ValuePools, make_people, make_values
from lacy.world.reading import ClaimReader, StatedFact
from lacy.world.writing import write_biography

Split = Literal["train", "valid", "fresh", "unseen"]
"""``train``: training texts; ``valid``: the same people in other texts; ``fresh``: the same people
in phrasings that training texts never use; ``unseen``: people who are not in training texts.
"""

UNSEEN = 0.1
"""Share of people that are kept out of training texts."""


@dataclass(frozen=True)
class World:
    """People, their facts, and the values that facts can take. Create one with ``make_world``."""

    seed: int
    everyone: tuple[Person, ...]
    values: ValuePools
    prose: float = 0.0
    """Mean number of additional sentences without a fact per biography."""

    @cached_property
    def _by_name(self) -> dict[str, Person]:
        return {person.name: person for person in self.everyone}

    @cached_property
    def _reader(self) -> ClaimReader:
        known: dict[str, set[str]] = {relation: set() for relation in RELATIONS}
        for person in self.everyone:
            for relation, value in person.facts.items():
                known[relation].add(value)
        return ClaimReader(known)

    def people(self, split: Split = "train") -> tuple[Person, ...]:
        """Return the people of a split; the last ``UNSEEN`` share of all people is ``unseen``."""
        cut = max(1, round(len(self.everyone) * (1 - UNSEEN)))
        return self.everyone[cut:] if split == "unseen" else self.everyone[:cut]

    def documents(self, split: Split = "train", *, per_person: int = 1) -> Iterator[Document]:
        """Yield biographies with marks, round after round over the people of the split.

        Every text depends only on the world's seed, the split, the person and the round, so a
        larger ``per_person`` yields the same first texts as a smaller one.
        """
        for turn in range(per_person):
            for person in self.people(split):
                rng = random.Random(f"{self.seed}/{split}/{person.name}/{turn}")
                text, marks = write_biography(
                    person, rng, held_out=split == "fresh", prose=self.prose
                )
                yield Document(
                    f"{split}/{person.name}/{turn}", text, {"person": person.name}, marks
                )

    def prompts(self, split: Split = "train", limit: int | None = None) -> list[str]:
        """Return prompts for biographies: the full names of the people."""
        return [person.name for person in self.people(split)[:limit]]

    def truth(self, name: str) -> dict[str, str]:
        """Return a person's facts by relation; empty for unknown names."""
        person = self._by_name.get(name)
        return dict(person.facts) if person else {}

    def claims(self, text: str) -> list[StatedFact]:
        """Return the facts stated in a text (see ``reading``)."""
        return self._reader.claims(text)

    def expects_value(self, text: str) -> str | None:
        """Return the relation whose value is due at the end of ``text``, or None."""
        return self._reader.expects_value(text)

    def bits(self, split: Split = "train") -> float:
        """Return the information in the facts of a split, to compare with a model's capacity."""
        return sum(
            self.values.bits(relation) for person in self.people(split) for relation in person.facts
        )

    def to_sqlite(self, path: str | Path, errors: float = 0.0, seed: int = 0) -> Path:
        """Write the truth as a database: ``person(id, name)``, ``fact(subject, relation, value)``.

        The file is written atomically.

        Args:
            path: the file; an older one is replaced.
            errors: share of facts that get another person's value instead (see ``mistakes``).
            seed: determines which facts are wrong, and their values.

        Raises:
            LacyError: E12, ``errors`` is not a share.
        """
        wrong = wrong_values(self.everyone, errors, seed)
        path = Path(path)
        with replace_file(path) as partial, contextlib.closing(sqlite3.connect(partial)) as db, db:
            db.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
            db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
            db.execute("CREATE INDEX fact_subject ON fact (subject)")
            db.executemany(
                "INSERT INTO person (name) VALUES (?)", [(p.name,) for p in self.everyone]
            )
            db.executemany(
                "INSERT INTO fact VALUES (?, ?, ?)",
                [
                    (p.name, r, wrong.get((p.name, r), v))
                    for p in self.everyone
                    for r, v in p.facts.items()
                ],
            )
        return path

    def describe(self) -> dict[str, float]:
        """Return the arguments of ``make_world`` that create this world."""
        return {"people": len(self.everyone), "seed": self.seed, "prose": self.prose}

    def save(self, folder: str | Path, errors: float = 0.0) -> None:
        """Write ``world.json`` and ``truth.sqlite`` into a folder; ``errors`` as in ``to_sqlite``.

        ``world.json`` always describes the truth, even if the database has errors.
        """
        folder = Path(folder)
        self.to_sqlite(folder / "truth.sqlite", errors, self.seed)
        (folder / "world.json").write_text(json.dumps(self.describe()) + "\n")


def make_world(people: int = 400, seed: int = 0, *, prose: float = 0.0) -> World:
    """Create a world from a seed; the same arguments always give the same world.

    Args:
        people: number of people; each has about 65 bits of facts, which sets the load on a model.
        seed: any integer.
        prose: mean number of additional sentences without a fact per biography; people and facts
            do not depend on it.

    Raises:
        LacyError: E80, fewer than 10 people; E12, ``prose`` is not a number of sentences.
    """
    if people < 10:
        raise LacyError("E80", people=people)
    require_at_least("prose", prose, 0, finite=True)
    rng = random.Random(seed)
    values = make_values(rng)
    return World(seed, make_people(people, values, rng), values, float(prose))


def load_world(folder: str | Path) -> World:
    """Load the world that ``World.save`` or ``lacy data world`` wrote to a folder.

    Raises:
        LacyError: E81, the folder has no readable ``world.json``.
    """
    file = Path(folder) / "world.json"
    try:
        settings = parse_json(file.read_text(encoding="utf-8"))
        people, seed = int(settings["people"]), int(settings["seed"])
        return make_world(people, seed, prose=float(settings.get("prose", 0.0)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LacyError("E81", path=file, why=error) from error
