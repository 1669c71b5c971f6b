"""Calibration: fits of kinds and signals, against a slow computation on the same texts."""

import math
import re

import numpy as np
import pytest
import torch

from lacy.annotate import encode
from lacy.cascade import Engine
from lacy.cascade import reference as reference_module
from lacy.cascade.calibration import (
    LOW_QUANTILE,
    MAX_SIGNALS,
    MAX_VALUES,
    Calibration,
    KindFit,
    calibrate,
)
from lacy.cascade.policy import Budget, Never, with_calibration
from lacy.cascade.pruning import best_index
from lacy.cascade.rank import (
    CALIBRATED_ABSTAIN,
    DEFAULT_ABSTAIN,
    SLACK,
    min_score,
    reference_score,
)
from lacy.cascade.reference import MAX_CHARACTERS, ReferenceText, ValueKey
from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.model import build_model
from lacy.model.io import Loaded
from lacy.types import Candidate, MarkFlag
from lacy.world import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(people=30, seed=1)


@pytest.fixture(scope="module")
def loaded(world):
    tokenizer = train_tokenizer((d.text for d in world.documents()), 400)
    return Loaded(build_model("tiny", tokenizer, context=512, seed=0), tokenizer)


@pytest.fixture(scope="module")
def calibration(world, loaded):
    return calibrate(loaded, world.documents())


@torch.no_grad()
def slow(loaded, text, value, ends):
    """log p(value after text, then one of ends), without a cache."""
    tokenizer = loaded.tokenizer
    ids = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]
    tokens = tokenizer(" " + value)["input_ids"]
    logits = loaded.model(input_ids=torch.tensor([ids + tokens])).logits[0].double()
    logp = torch.log_softmax(logits[:, :-1], -1)
    total = sum(float(logp[len(ids) - 1 + n, token]) for n, token in enumerate(tokens))
    return total + math.log(float(torch.softmax(logits[-1], -1)[list(ends)].sum()))


def slow_about(reference, name):
    """Replace names in a text word by word, also parts of them."""
    change = dict(zip(reference.subject.split(), name.split(), strict=False))
    return "".join(change.get(word, word) for word in re.split(r"(\W+)", reference.text))


def test_reference_likelihoods_equal_a_slow_computation(world, loaded, calibration):
    reference = calibration.reference(loaded)
    person = world.people()[0]
    value = person.facts["school"]
    wanted = [ValueKey(person.name, kind, value) for kind in ("school", "birth_place", "nothing")]
    wanted.append(ValueKey("", "school", value))
    found = reference.look_up(wanted)
    assert set(found) == {*wanted[:2], wanted[3]}
    for key, logp in found.items():
        references = calibration.kinds[key.kind].references
        assert len(references) == 3 and all(r.text.startswith(r.subject) for r in references)
        texts = [slow_about(r, key.subject) for r in references]
        mean = np.mean([slow(loaded, text, value, calibration.ends) for text in texts])
        assert logp == pytest.approx(mean, abs=1e-3)
    assert reference.look_up(wanted) == found


def test_values_after_one_text_share_its_forward_pass(world, loaded, calibration):
    values = sorted({person.facts["school"] for person in world.people()[:12]})
    text = calibration.kinds["school"].references[0].text
    reference = calibration.reference(loaded)
    pairs = [("Nobody studied at", values[0]), *((text, value) for value in values)]
    slowly = [slow(loaded, *pair, calibration.ends) for pair in pairs]
    assert reference.after(pairs) == pytest.approx(slowly, abs=1e-3)
    length = len(loaded.tokenizer(text)["input_ids"])
    reference = Calibration(calibration.kinds, ends=calibration.ends).reference(loaded)
    read = []
    hook = loaded.model.register_forward_pre_hook(
        lambda module, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    first = reference.after(pairs[1:6])
    assert length < sum(read) < 5 * length
    read.clear()
    rest = reference.after(pairs[6:])  # the text itself is not read again
    assert sum(read) < len(values[5:]) * (max(len(value) for value in values) + 1) < 5 * length
    read.clear()
    assert reference.after(pairs[1:]) == [*first, *rest] and not read
    hook.remove()
    assert [*first, *rest] == pytest.approx(slowly[1:], abs=1e-3)


def test_reading_many_texts_keeps_only_the_last(world, loaded, calibration, monkeypatch):
    monkeypatch.setattr(reference_module, "MAX_KEPT", 90)
    kinds = calibration.kinds
    fresh = Calibration(kinds, ends=calibration.ends).reference(loaded)
    texts = [r.about(p.name) for p in world.people()[:4] for r in kinds["birth_place"].references]
    pairs = [(text, value) for value in ("Ulm", "1901") for text in texts]
    one_by_one = [fresh.after([pair])[0] for pair in pairs]
    assert 0 < sum(map(len, fresh._read)) <= 90
    slowly = [slow(loaded, *pair, calibration.ends) for pair in pairs]
    assert one_by_one == pytest.approx(slowly, abs=1e-3)
    again = Calibration(kinds, ends=calibration.ends).reference(loaded)
    assert again.after(pairs) == pytest.approx(slowly, abs=1e-3)


def test_long_reference_texts_keep_their_last_sentences():
    text = "Ada Lee was born. " + "She wrote a book about it. " * 40 + "She died in"
    short = ReferenceText(text, "Ada Lee").shortened()
    assert text.endswith(short.text) and len(short.text) <= MAX_CHARACTERS
    assert short.text.startswith("She wrote") and short.subject == ""
    named = ReferenceText(f"{text} Rome. Ada Lee was", "Ada Lee").shortened()
    assert named.subject == "Ada Lee" and named.about("Bo Ek").endswith(" Rome. Bo Ek was")
    words = ReferenceText("word " * 200 + "in", "").shortened()
    assert words.text.startswith("word ") and len(words.text) <= MAX_CHARACTERS
    brief = ReferenceText("Ada was born in", "Ada")
    assert brief.shortened() is brief


def test_reference_texts_stop_where_a_value_of_their_kind_is_due(world, calibration):
    assert set(calibration.kinds) == {m.relation for d in world.documents() for m in d.marks}
    for kind, fit in calibration.kinds.items():
        assert all(world.expects_value(reference.text) == kind for reference in fit.references)
        assert 0 < fit.n <= MAX_VALUES


def test_the_low_quantile_is_that_of_right_values(world, loaded, calibration):
    reference = calibration.reference(loaded)
    kind, fit = "school", calibration.kinds["school"]
    seen = [
        (ReferenceText(d.text[: m.start].rstrip(" "), d.meta["person"]), d.text[m.start : m.end])
        for d in world.documents()
        for m in d.marks
        if m.relation == kind
    ]
    seen = [(r, value) for r, value in seen if r not in fit.references][: fit.n]
    below = []
    for text, value in seen:
        key = ValueKey(text.subject, kind, value)
        here = slow(loaded, text.text, value, calibration.ends)
        below.append(here - reference.look_up([key])[key])
    assert fit.low == pytest.approx(np.quantile(below, LOW_QUANTILE), abs=1e-3)


def test_ends_are_the_tokens_that_follow_values(world, loaded, calibration):
    seen = {d.text[m.end : m.end + 1] for d in world.documents() for m in d.marks}
    found = {loaded.tokenizer.decode([token])[:1] for token in calibration.ends}
    assert found == seen


def test_signals_are_read_where_the_model_decides(world, loaded, calibration):
    decided = sum(
        bool(f & MarkFlag.START) or not f & MarkFlag.FACT
        for d in world.documents()
        for f in encode(d, loaded.tokenizer).marks[1:]
    )
    assert set(calibration.signals) == {"margin", "p_call", "entropy", "top2"}
    for values in calibration.signals.values():
        assert len(values) == len(range(0, decided, math.ceil(decided / MAX_SIGNALS)))


def test_a_calibration_is_saved_and_a_broken_file_refused(calibration, tmp_path):
    calibration.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == calibration
    (tmp_path / "c.json").write_text('{"kinds": {"a": [1]}}')
    with pytest.raises(LacyError, match="E64"):
        Calibration.load(tmp_path / "c.json")


def test_too_few_values_are_not_calibrated(world, loaded):
    few = calibrate(loaded, list(world.documents())[:2])
    assert few.kinds == {} and len(few.signals["margin"]) > 100
    assert calibrate(loaded, []) == Calibration()


def test_a_kind_is_compared_with_its_own_reference_likelihood():
    kinds = {"name": KindFit((), -7.0, 25), "city": KindFit((), -1.0, 25)}
    due = {ValueKey("", "name", "x"): -20.0, ValueKey("", "city", "y"): -5.0}
    name, city = Candidate(" x", kind="name", alternatives=100), Candidate(" y", kind="city")
    other = Candidate("z", kind="other", alternatives=8)
    assert reference_score(name, due) == -20 and reference_score(other, due) == pytest.approx(
        -math.log(8)
    )
    # At a place for a name: the name is 18 nats unlikely, the city 14; the name fits, the city not.
    assert best_index([-18.0 - reference_score(name, due), -14.0 - reference_score(city, due)]) == 0
    assert min_score(name, DEFAULT_ABSTAIN, kinds) == -7.0 - SLACK
    assert min_score(city, DEFAULT_ABSTAIN, kinds) == CALIBRATED_ABSTAIN
    assert min_score(other, DEFAULT_ABSTAIN, kinds) == DEFAULT_ABSTAIN
    assert min_score(name, None, kinds) == -math.inf
    assert (
        min_score(name, "reference", kinds) == CALIBRATED_ABSTAIN
    )  # the kind's own low is lower still
    assert min_score(city, "reference", kinds) == kinds[city.kind].low - SLACK
    assert min_score(other, "reference", kinds) == DEFAULT_ABSTAIN
    assert best_index([math.nan, -3.0]) == 1


def test_a_budget_starts_from_calibration_signals(loaded, calibration):
    assert (
        with_calibration(Budget(0.2), calibration.signals).initial_signals
        == calibration.signals["margin"]
    )
    entropy = with_calibration(Budget(0.2, by="entropy"), calibration.signals)
    assert entropy.initial_signals == calibration.signals["entropy"]
    mine = Budget(0.2, initial_signals=(1.0,))
    assert with_calibration(mine, calibration.signals) is mine
    assert isinstance(with_calibration(Never(), calibration.signals), Never)
    engine = Engine(loaded, policy="budget=0.2", calibration=calibration)
    assert engine.policy.initial_signals == calibration.signals["margin"]
