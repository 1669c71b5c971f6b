"""Collections without near-duplicates and without texts unlike the reference texts."""

import csv
import json
import random

import pytest

from lacy.clean import CleanSettings, clean_texts, train_quality_model
from lacy.cli import main
from lacy.corpus import read
from lacy.errors import LacyError
from lacy.types import Document, Mark

GOOD = "the theory of heat explains why energy flows from warm bodies to cold ones".split()
BAD = "click here buy now cheap best deal free shipping win prize subscribe login".split()


def texts(words, count, seed, name):
    chance = random.Random(seed)
    return [
        Document(f"{name}{n}", " ".join(chance.choices(words, k=40)) + ".", {"topic": name})
        for n in range(count)
    ]


def removed(folder):
    with (folder / "removed.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_copies_are_left_out_and_everything_else_is_kept(tmp_path):
    documents = texts(GOOD, 30, 0, "a")
    copy = Document("copy", documents[7].text.upper())
    marked = Document("marked", "Marie Curie was born in Warsaw", {"page": 3},
                      (Mark(24, 30, "CONTENT"),))  # fmt: skip
    counts = clean_texts(lambda: [*documents, copy, marked], tmp_path / "out")
    assert (counts.read, counts.near, counts.low, counts.kept) == (32, 1, 0, 31)
    kept = list(read(tmp_path / "out" / "texts.jsonl"))
    assert [one.id for one in kept] == [*(one.id for one in documents), "marked"]
    assert kept[-1].marks == marked.marks and kept[-1].meta == marked.meta
    assert sum(len(one.text) for one in kept) == counts.characters[1]
    [row] = removed(tmp_path / "out")
    assert (row["id"], row["why"], row["like"]) == ("copy", "near-duplicate", "a7")


def test_texts_unlike_the_reference_texts_are_left_out(tmp_path):
    good, bad = texts(GOOD, 60, 1, "good"), texts(BAD, 40, 2, "bad")
    mixed = random.Random(3).sample([*good, *bad], 100)
    counts = clean_texts(
        lambda: mixed,
        tmp_path / "out",
        CleanSettings(keep=0.6),
        like=lambda: texts(GOOD, 80, 4, ""),
    )
    assert (counts.near, counts.low, counts.kept) == (0, 40, 60)
    assert {one.meta["topic"] for one in read(tmp_path / "out" / "texts.jsonl")} == {"good"}
    rows = removed(tmp_path / "out")
    assert {row["why"] for row in rows} == {"low score"} and len(rows) == 40
    assert max(float(row["score"]) for row in rows) < counts.threshold
    assert counts.auroc > 0.6  # the others contain good texts, too
    info = json.loads((tmp_path / "out" / "clean.json").read_text())
    assert info["counts"]["kept"] == 60 and info["settings"]["keep"] == 0.6


def test_a_random_choice_is_announced(tmp_path):
    said = []
    clean_texts(lambda: texts(GOOD, 100, 5, "a"), tmp_path / "out",
                like=lambda: texts(GOOD, 100, 6, "b"), notify=said.append)  # fmt: skip
    assert any("can hardly be told" in sentence for sentence in said)


def test_scores_are_probabilities_and_held_out_texts_measure_the_model():
    good = [one.text for one in texts(GOOD, 50, 7, "")]
    bad = [one.text for one in texts(BAD, 50, 8, "")]
    model = train_quality_model(good, bad)
    assert model.auroc == 1.0 and model.texts == (50, 50)
    scores = model.scores([*good, *bad, ""])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[:50].min() > scores[50:100].max()
    with pytest.raises(LacyError, match=r"E400.*only 3 reference texts"):
        train_quality_model(good[:3], bad)


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path):
    documents = texts(GOOD, 30, 0, "a")
    for settings, like, words in (
        (CleanSettings(near=None), None, "E12.*nothing would be left out"),
        (CleanSettings(keep=0.3), None, "E12.*keep.*no reference texts"),
        (CleanSettings(keep=1.5), lambda: documents, "E12.*keep.*not a share"),
        (CleanSettings(), lambda: documents[:2], "E400.*only 2 reference texts"),
    ):
        with pytest.raises(LacyError, match=words):
            clean_texts(lambda: documents, tmp_path / "out", settings, like=like)
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [*texts(GOOD, 30, 0, "good"), *texts(BAD, 30, 1, "bad")]
    lines = [json.dumps({"id": one.id, "text": one.text}) for one in [*rows, *rows[:5]]]
    (tmp_path / "crawl.jsonl").write_text("\n".join(lines))
    likes = [json.dumps({"text": one.text}) for one in texts(GOOD, 40, 2, "")]
    (tmp_path / "like.jsonl").write_text("\n".join(likes))
    assert main("data clean crawl.jsonl --out clean --like like.jsonl --keep 0.5".split()) == 0
    shown = capsys.readouterr().out
    assert "5 (7.7%)" in shown and "30 texts" in shown and "lacy data mark clean" in shown
    assert main("data check clean".split()) == 0
    assert main("data clean crawl.jsonl --out crawl.jsonl".split()) != 0
    assert "[E16]" in capsys.readouterr().err
