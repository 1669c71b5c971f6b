"""Openings: what counts as completed with a true value, and the scores of a whole cascade."""

import pytest

from helpers.worlds import answer
from lacy.almanac import Opening, Subject, write_facts
from lacy.evaluate import evaluate_openings
from lacy.evaluate.openings import is_completed
from lacy.results import as_data
from lacy.sources.db import Database
from lacy.testing import scripted

ANN = Subject("Ann Bell", "person", {"born": "1901", "birth place": "Oslo"})
BOB = Subject("Bob Hill", "person", {"born": "1920", "birth place": "Rome"})
OPENINGS = [
    Opening(f"{s.name} was born in", s, relations)
    for s in (ANN, BOB)
    for relations in (("born", "birth place"), ("birth place",))
]


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        (" Oslo.", True),
        (" 1901 in Bergen", True),
        (" Bergen. She moved to Oslo.", False),
        (" Bergen\nOslo", False),
        (" Oslofjord", False),
        (" the town of Oslo, Norway", True),
        ("", False),
    ],
)
def test_the_first_sentence_of_the_completion_counts(completion, right):
    assert is_completed(OPENINGS[0], answer(OPENINGS[0].text, (completion, "slm"))) is right


def test_only_values_that_may_follow_count():
    assert not is_completed(OPENINGS[1], answer(OPENINGS[1].text, (" 1901.", "slm")))


def speak(text):
    rest = " Paris."
    said = text.partition("was born in")[2]
    return rest[len(said)] if rest.startswith(said) and said != rest else ""


def test_a_cascade_completes_with_the_database(tmp_path):
    loaded = scripted(speak, lambda text: text.endswith("born in"), context=100)
    path = write_facts(tmp_path / "facts.sqlite", [ANN, BOB])
    with Database(path, name="facts") as source:
        found = evaluate_openings(
            loaded, OPENINGS, source, {"alone": "never", "gate": "threshold=0"}, abstain=None
        )
    alone, gate = found.conditions["alone"], found.conditions["gate"]
    assert alone.scores["openings_right"].value == 0.0 and not any(alone.right)
    assert gate.scores["calls_per_opening"].value == 1.0
    assert gate.scores["openings_right"].value == sum(gate.right) / 4 > 0
    assert gate.scores["openings_right"].n == 2  # subjects, not openings
    assert {result.conditions["condition"] for result in found.results()} == {"alone", "gate"}
    assert as_data(found)["openings"] == 4
