"""A world with more prose, and a database with errors: what changes, and what must not."""

import hashlib
import json
import sqlite3
from collections import Counter

import pytest

from lacy.errors import LacyError
from lacy.world import load_world, make_world
from lacy.world.mistakes import values_by_relation, wrong_value, wrong_values

TEXTS_WITHOUT_PROSE = "d03bb855de40c8399727424b55466a04e066ab5dbccd29d73869e029f30c0932"
"""Of every text and mark of a small world, as they were before prose could be asked for."""


def rows(path):
    db = sqlite3.connect(path)
    found = list(db.execute("SELECT subject, relation, value FROM fact"))
    db.close()
    return found


def test_without_prose_texts_do_not_change():
    world, digest = make_world(30, 5), hashlib.sha256()
    for split in ("train", "valid", "fresh", "unseen"):
        for document in world.documents(split, per_person=2):
            marks = [
                f"Mark(start={m.start}, end={m.end}, reason={m.reason!r}, relation={m.relation!r})"
                for m in document.marks
            ]
            listed = f"({', '.join(marks)}{',' * (len(marks) == 1)})"
            digest.update(f"({document.id!r}, {document.text!r}, {listed})".encode())
    assert digest.hexdigest() == TEXTS_WITHOUT_PROSE


def sentences(text):
    return text.count(". ") + 1


@pytest.mark.parametrize("prose", [0.3, 1.0, 4.5])
def test_prose_adds_that_many_sentences_and_no_fact(prose):
    plain, more = make_world(60, 1), make_world(60, 1, prose=prose)
    assert more.everyone == plain.everyone
    added = []
    pairs = zip(plain.documents(per_person=8), more.documents(per_person=8), strict=True)
    for before, after in pairs:
        assert [m.relation for m in before.marks] == [m.relation for m in after.marks]
        stated = [(m.relation, after.text[m.start : m.end]) for m in after.marks]
        assert [(c.relation, c.value) for c in more.claims(after.text)] == stated
        added.append(sentences(after.text) - sentences(before.text))
    # Exactly so many in each text, but for a fraction by chance: 432 draws of a coin.
    assert set(added) <= {int(prose), int(prose) + 1}
    assert sum(added) / len(added) == pytest.approx(prose, abs=0.08)
    if prose == int(prose):
        assert len(set(added)) == 1


def test_prose_is_saved_and_read_and_older_folders_have_none(tmp_path):
    world = make_world(20, 2, prose=1.5)
    world.save(tmp_path)
    again = load_world(tmp_path)
    assert again == world
    assert [d.text for d in again.documents()] == [d.text for d in world.documents()]
    (tmp_path / "world.json").write_text('{"people": 20, "seed": 2}')
    assert load_world(tmp_path) == make_world(20, 2)


@pytest.mark.parametrize("prose", [-0.5, float("nan"), float("inf")])
def test_invalid_prose_is_an_error(prose):
    with pytest.raises(LacyError, match="E12"):
        make_world(20, 0, prose=prose)


def test_wrong_values_are_other_peoples_for_the_given_share(tmp_path):
    world = make_world(100, 3)
    truth = rows(world.to_sqlite(tmp_path / "truth.sqlite"))
    for share in (0.1, 0.5, 1.0):
        found = rows(world.to_sqlite(tmp_path / "wrong.sqlite", share, 7))
        assert [row[:2] for row in found] == [row[:2] for row in truth]
        wrong = [f for f, t in zip(found, truth, strict=True) if f != t]
        assert len(wrong) == round(share * len(truth))
        for subject, relation, value in wrong:
            had_by = [p.name for p in world.everyone if p.facts.get(relation) == value]
            assert had_by and subject not in had_by
            assert value != subject
        by_relation = Counter(relation for _, relation, _ in wrong)
        assert min(by_relation.values()) > share * 60


def test_errors_are_the_same_every_time_and_nested():
    people = make_world(50, 0).everyone
    few, many = wrong_values(people, 0.2, 1), wrong_values(people, 0.6, 1)
    assert few == wrong_values(people, 0.2, 1)
    assert few.items() < many.items()
    assert few != wrong_values(people, 0.2, 2)
    assert wrong_values(people, 0.0, 1) == {}


def test_an_error_rate_of_0_gives_the_same_file(tmp_path):
    world = make_world(30, 4)
    plain = world.to_sqlite(tmp_path / "a.sqlite").read_bytes()
    assert world.to_sqlite(tmp_path / "b.sqlite", errors=0.0, seed=9).read_bytes() == plain


def test_a_relation_with_a_single_value_has_no_wrong_value():
    person = make_world(10, 0).everyone[0]
    own = person.facts["field"]
    assert wrong_value(person, "field", [own, own], 0) is None
    assert wrong_value(person, "field", [own, person.name], 0) is None
    assert wrong_value(person, "field", [own, "botany"], 0) == "botany"
    assert own in values_by_relation([person])["field"]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_error_rate_outside_0_to_1_is_an_error(share, tmp_path):
    with pytest.raises(LacyError, match="E12"):
        make_world(20, 0).to_sqlite(tmp_path / "a.sqlite", share)
    assert list(tmp_path.iterdir()) == []


def lacy_world(*argv):
    from lacy.cli import main

    try:
        return main(["data", "world", *map(str, argv)])
    except SystemExit as leaving:
        return leaving.code or 0


def test_the_command_writes_world_and_database(tmp_path, capsys):
    argv = ["--people", 30, "--per-person", 1, "--prose", 2, "--errors", 0.25, "--seed", 6]
    assert lacy_world(*argv, "--out", tmp_path / "w") == 0
    world = make_world(30, 6, prose=2.0)
    assert load_world(tmp_path / "w") == world
    lines = (tmp_path / "w" / "train.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts == [d.text for d in world.documents()]
    wrong = wrong_values(world.everyone, 0.25, 6)
    for subject, relation, value in rows(tmp_path / "w" / "truth.sqlite"):
        true = world.truth(subject)[relation]
        assert value == wrong.get((subject, relation), true)
    assert str(len(wrong)) in capsys.readouterr().out


def test_the_command_refuses_invalid_numbers(tmp_path, capsys):
    for flag, value in (("--errors", 1.5), ("--prose", -1)):
        assert lacy_world(flag, value, "--out", tmp_path / "w") == 2
        assert capsys.readouterr().err.startswith("[E12]")
    assert lacy_world("--errors", 0.5, "--dry-run", "--out", tmp_path / "w") == 0
    assert "0.5" in capsys.readouterr().out
    assert not (tmp_path / "w").exists()
