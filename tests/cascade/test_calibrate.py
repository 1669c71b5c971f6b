"""Calibration: fits of kinds and signals of a budget against a slow reading of the same texts."""

import math

import numpy as np
import pytest
import torch

from lacy.annotate import encode
from lacy.cascade import Engine
from lacy.cascade.calibrate import LOW, SEEDS, Calibration, KindFit, calibrate
from lacy.cascade.policy import Budget, Never, seeded
from lacy.cascade.rank import DEFAULT_ABSTAIN, SLACK, best, least, usual
from lacy.corpus import train_tokenizer
from lacy.corpus.world import make_world
from lacy.errors import LacyError
from lacy.model import build
from lacy.model.io import Loaded
from lacy.types import Candidate, MarkFlag


@pytest.fixture(scope="module")
def world():
    return make_world(people=30, seed=1)


@pytest.fixture(scope="module")
def loaded(world):
    tokenizer = train_tokenizer((d.text for d in world.documents()), 400)
    return Loaded(build("tiny", tokenizer, context=512, seed=0), tokenizer)


@pytest.fixture(scope="module")
def calibration(world, loaded):
    return calibrate(loaded, world.documents())


@torch.no_grad()
def test_kinds_equal_a_slow_reading(world, loaded, calibration):
    found = {}
    for document in world.documents():
        encoded = encode(document, loaded.tokenizer)
        logits = loaded.model(input_ids=torch.tensor([encoded.input_ids])).logits[0].double()
        logp = torch.log_softmax(logits[:, :-1], -1)
        no_call = torch.log1p(-torch.softmax(logits, -1)[:, -1])
        marks, value = iter(document.marks), None
        for place, flags in enumerate(encoded.marks):
            if flags & MarkFlag.START:
                value = found.setdefault(next(marks).relation, [])
                value.append(0.0)
            if flags & MarkFlag.FACT:
                value[-1] += float(logp[place - 1, encoded.input_ids[place]])
                following = encoded.marks[place + 1]
                if not following & MarkFlag.FACT or following & MarkFlag.START:
                    value[-1] += float(no_call[place])
    assert set(calibration.kinds) == set(found)
    for kind, values in found.items():
        fit = calibration.kinds[kind]
        assert fit.n == len(values)
        assert fit.mean == pytest.approx(np.mean(values), abs=1e-3)
        assert fit.low == pytest.approx(np.quantile(values, LOW), abs=1e-3)


def test_signals_are_those_of_places_where_the_model_decides(world, loaded, calibration):
    decided = sum(
        bool(f & MarkFlag.START) or not f & MarkFlag.FACT
        for d in world.documents()
        for f in encode(d, loaded.tokenizer).marks[1:]
    )
    assert set(calibration.signals) == {"margin", "p_call", "entropy", "top2"}
    for values in calibration.signals.values():
        assert len(values) == len(range(0, decided, math.ceil(decided / SEEDS)))


def test_a_file_keeps_it_and_a_broken_file_is_said_so(calibration, tmp_path):
    calibration.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == calibration
    (tmp_path / "c.json").write_text('{"kinds": {"a": [1]}}')
    with pytest.raises(LacyError, match="E64"):
        Calibration.load(tmp_path / "c.json")


def test_few_values_or_none_teach_nothing(world, loaded):
    few = calibrate(loaded, list(world.documents())[:2])
    assert few.kinds == {} and len(few.signals["margin"]) > 100
    assert calibrate(loaded, []) == Calibration()


def test_a_kind_is_held_against_its_own_usual_likelihood():
    kinds = {"name": KindFit(-20.0, -28.0, 50), "city": KindFit(-5.0, -6.0, 50)}
    name, city = Candidate("x", kind="name", alternatives=100), Candidate("y", kind="city")
    other = Candidate("z", kind="other", alternatives=8)
    assert usual(name, kinds) == -20 and usual(other, kinds) == pytest.approx(-math.log(8))
    assert usual(name) == pytest.approx(-math.log(100))
    # At a place for a name: the name is 18 nats unlikely, the city 14; the name fits, the city not.
    scores = [-18.0 - usual(name, kinds), -14.0 - usual(city, kinds)]
    assert best(scores) == 0
    assert least(name, DEFAULT_ABSTAIN, kinds) == -28 + 20 - SLACK
    assert least(city, DEFAULT_ABSTAIN, kinds) == DEFAULT_ABSTAIN
    assert least(other, DEFAULT_ABSTAIN, kinds) == DEFAULT_ABSTAIN
    assert least(name, None, kinds) == -math.inf
    assert best([math.nan, -3.0]) == 1


def test_a_budget_starts_from_the_signals_of_its_kind(loaded, calibration):
    assert seeded(Budget(0.2), calibration.signals).seeds == calibration.signals["margin"]
    entropy = seeded(Budget(0.2, by="entropy"), calibration.signals)
    assert entropy.seeds == calibration.signals["entropy"]
    mine = Budget(0.2, seeds=(1.0,))
    assert seeded(mine, calibration.signals) is mine
    assert isinstance(seeded(Never(), calibration.signals), Never)
    engine = Engine(loaded, policy="budget=0.2", calibration=calibration)
    assert engine.policy.seeds == calibration.signals["margin"]
