"""benchmarks/ranking.py: what it offers, how it counts, that it runs, and that its page is true."""

import importlib
import itertools
import random
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "results" / "ranking.md"


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    """The scripts import one another by name, as they do where they are run."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.startswith("ranking")]:
        del sys.modules[name]


def module(name):
    return importlib.import_module(name)


def test_candidate_sets_hold_what_they_say():
    offered = module("ranking_candidates")
    world = module("ranking_models").the_world(3, 80)
    places = offered.world_places(world, "valid", 6, controlled=True)
    assert len(places) > 30
    for place in places:
        truth = world.truth(place.subject)
        assert truth[place.right.kind] == place.right.value
        assert not place.text.endswith(" ") and place.text.startswith(place.subject)
        assert {f.value for f in place.sets["natural", 0]} == set(truth.values())
        for (name, count), facts in place.sets.items():
            assert facts[0] == place.right
            assert len({fact.value for fact in facts}) == len(facts) == (count or len(facts))
            kinds = [fact.kind == place.right.kind for fact in facts[1:]]
            assert not any(kinds) if name in ("other", "natural") else name != "same" or all(kinds)
        sizes = [place.sets["mixed", n] for n in offered.COUNTS if ("mixed", n) in place.sets]
        assert len(sizes) in (0, len(offered.COUNTS))
        assert all(large[: len(small)] == small for small, large in itertools.pairwise(sizes))
    controlled = sum(("mixed", 64) in place.sets for place in places)
    assert 0.2 < controlled / len(places) < 0.8


def test_blind_choices_are_right_as_often_as_expected():
    offered, scores = module("ranking_candidates"), module("ranking_scores")
    right, other = offered.Fact("place", "Oslo"), offered.Fact("date", "1901")
    facts = [right, other, offered.Fact("place", "Rome"), offered.Fact("date", "1902")]
    found = scores.expected(right, facts, ["date", "place"])
    assert found == {"chance": 0.25, "frequent_kind": 0.0, "kind_known": 0.5}
    assert scores.expected(right, facts, ["name", "place"])["frequent_kind"] == 0.5
    rng = random.Random(0)  # equal scores must not favour the right one
    for _ in range(20):
        rng.shuffle(facts)
        assert scores.best_of(facts, dict.fromkeys(facts, 0.0)) == facts[-1]


def test_a_limit_trades_coverage_for_precision():
    scores = module("ranking_scores")
    taken = {
        "a": [scores.Taken(True, 2.0, -1.0), scores.Taken(False, 0.5, 0.5)],
        "b": [scores.Taken(True, -1.0, -3.0), scores.Taken(True, 1.0, 0.0)],
    }
    rows = scores.curve(taken, [-9.0, 0.0, 0.8])
    assert [row["coverage"] for row in rows] == [1.0, 0.75, 0.5]
    assert [row["precision"] for row in rows] == [0.75, pytest.approx(2 / 3), 1.0]
    assert [row["absent"] for row in rows] == [1.0, 0.5, 0.0]


def test_counts_are_kept_and_pooled():
    scores = module("ranking_scores")
    one, two = scores.Counts(), scores.Counts()
    key = ("valid", "natural", 0, "calibrated", "all")
    for unit, right in (("a", 1.0), ("a", 0.0), ("b", 1.0)):
        one.add(key, unit, right)
    one.taken["valid", "calibrated"]["a"] = [scores.Taken(True, 1.0, -1.0)]
    two.add(key, "c", 0.0)
    again = scores.Counts.of_json(one.as_json())
    assert again.pairs == one.pairs and again.taken == one.taken
    (row,) = scores.Counts().merge([again, two]).rows([one, two])
    assert (row["value"], row["units"], row["places"]) == (0.5, 3, 4)
    assert row["seeds"] == "0.6667 0"


def test_kinds_of_real_values():
    offered = module("ranking_candidates")
    found = [offered.coarse(v) for v in ("May 11, 1751", "3,000", "New Haven", "self-taught")]
    assert found == ["date", "number", "name", "words"]
    assert offered.relation("Birthplace") == offered.relation("Place of Birth") == "Birth Place"


def test_it_runs_small(tmp_path, monkeypatch, capsys):
    page = tmp_path / "ranking.md"
    page.write_text(PAGE.read_text())
    results = tmp_path / "results"
    monkeypatch.setattr(
        sys, "argv",
        ["ranking.py", str(tmp_path / "out"), "--smoke", "--results", str(results),
         "--page", str(page)],
    )  # fmt: skip
    module("ranking").main()
    assert "Real biographies are left out" in capsys.readouterr().out
    filled = page.read_text()
    assert "0.11M" in filled and "*Not measured.*" in filled
    assert {file.name for file in results.iterdir()} == {
        "ranking.csv", "ranking.json", "ranking_abstain.csv", "ranking_models.csv",
        "ranking_speed.csv",
    }  # fmt: skip
    again = page.with_name("again.md")
    module("ranking_page").write(page, results, again)
    assert again.read_text() == filled


def test_the_page_says_what_was_measured(tmp_path):
    out = tmp_path / PAGE.name
    module("ranking_page").write(PAGE, BENCHMARKS / "results", out)
    assert out.read_text() == PAGE.read_text()
    figures = sorted(tmp_path.glob("*.svg"))
    assert figures and all((PAGE.parent / figure.name).exists() for figure in figures)
