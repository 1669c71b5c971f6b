"""Candidates of a database, ranked by the SLM's likelihood."""

import math
import sqlite3

import pytest
import torch

from helpers import models
from lacy.cascade import Engine
from lacy.corpus import TokenText
from lacy.sources import Database
from lacy.testing import scripted


def places(text):
    return text.endswith((" in", " on"))


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "facts.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [("Ada", "place", "Paris"), ("Ada", "date", "3 May 1901"), ("Bea", "place", "Oslo")]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    db.close()
    with Database(path) as database:
        yield database


def test_the_slm_ranks_candidates_of_a_database(database):
    def speak(text):  # it knows what kind of thing comes next, and has its own guess
        guess = {"in": " Paris", "on": " 3 May 1901"}[text[10:12]]
        return guess[len(text) - 12 :]

    loaded = scripted(speak, places)
    answer = Engine(loaded, database, "threshold=0", read=0).generate(["Ada lived in"])[0]
    assert answer.text == "Ada lived in Paris"
    assert answer.spans[1].evidence == "Ada · place · Paris (facts.db)"
    assert "of 2 values this one fits best" in answer.spans[1].reason
    asked = Engine(loaded, database, "threshold=0", read=0).generate(["Ada lived on"])[0]
    assert asked.text == "Ada lived on 3 May 1901"
    tokens = Engine(loaded, database, "threshold=0", unit="word", read=0).generate(
        ["Ada lived on"]
    )[0]
    assert tokens.spans[1].text == " 3"


@torch.no_grad()
def test_ranking_equals_the_slow_likelihood(database):
    tokenizer = models.ALL["byte_level"]
    for loaded in (models.llama(tokenizer), models.gpt2(tokenizer)):
        seen = []
        engine = Engine(loaded, database, "always", abstain=None, max_new_tokens=40, read=0)
        answer = engine.generate(["Mara lived in"], ["Ada"])[0]
        text = TokenText(loaded.tokenizer)
        ids = [0, *text.encode("Mara lived in")]
        for value, relation in ((" Paris", "place"), (" 3 May 1901", "date")):
            tokens = text.encode_continuation(value)
            logits = loaded.model(input_ids=torch.tensor([ids + tokens])).logits[0]
            logits[:, -1] = -torch.inf
            logp = torch.log_softmax(logits, -1)
            total = sum(float(logp[len(ids) - 1 + n, t]) for n, t in enumerate(tokens))
            seen.append((total + math.log(database.alternatives[relation]), value))
        score, value = max(seen)
        assert answer.spans[1].text == value
        assert f"of 2 values this one fits best (score {score:.1f})" in answer.spans[1].reason


def test_abstaining(database):
    loaded = scripted(lambda t: " nothing"[: 8 if t.endswith("in") else 0], places)
    strict = Engine(loaded, database, "threshold=0", max_new_tokens=1).generate(["Ada lived in"])[0]
    assert strict.continuation == " " and "none of 2 values fits" in strict.spans[1].reason
    any_ = Engine(loaded, database, "threshold=0", abstain=None).generate(["Ada lived in"])[0]
    assert any_.spans[1].speaker == "facts.db"
