"""Policies: their signals, their text form, and the rate of a budget."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.cascade.policy import (
    Always,
    Budget,
    FittedThreshold,
    Never,
    Oracle,
    Random,
    SignalBatch,
    Threshold,
)
from lacy.cascade.policy_text import parse_policy
from lacy.errors import LacyError


def signals(margin, texts=None, **others):
    margin = np.asarray(margin, dtype=float)
    arrays = {name: np.asarray(values, dtype=float) for name, values in others.items()}
    return SignalBatch(
        margin=margin,
        position=[0] * len(margin),
        text=lambda row: texts[row],
        compute=arrays.__getitem__,
    )


def calls(policy, *args, **kwargs):
    return [d.call for d in policy.start().decide(signals(*args, **kwargs))]


def test_fixed_policies():
    assert calls(Never(), [9.0, -9.0]) == [False, False]
    assert calls(Always(), [9.0, -9.0]) == [True, True]
    assert calls(Threshold(0.5), [0.6, 0.5, -1, math.nan]) == [True, False, False, False]
    assert calls(Threshold(0.5, by="p_call"), [0, 0], p_call=[0.6, 0.4]) == [True, False]
    assert calls(Threshold(2.0, by="entropy"), [0, 0], entropy=[2.5, 1.5]) == [True, False]
    assert calls(Threshold(0.7, by="top2"), [0, 0], top2=[0.5, 0.9]) == [True, False]
    oracle = Oracle(lambda text: "birth date" if text.endswith(" on") else None)
    assert calls(oracle, [0, 0], texts=["born on", "born"]) == [True, False]


def test_reasons_name_signal_and_limit():
    assert (
        Threshold(0.4).start().decide(signals([3.1]))[0].reason
        == "the model asked for a fact here (margin 3.10 > 0.40)"
    )
    top2 = Threshold(0.7, by="top2").start().decide(signals([0], top2=[0.5]))[0].reason
    assert top2 == "the model's two best words were about equally likely (top2 0.50 < 0.70)"
    oracle = Oracle(lambda text: "place").start().decide(signals([0], texts=["x"]))
    assert oracle[0].reason == "a fact is due here (oracle: place)"


@pytest.mark.parametrize(
    "policy",
    [
        Never(),
        Always(),
        Budget(0.22),
        Budget(0.5, by="entropy", window=10, horizon=7),
        Random(0.1, seed=3),
        Threshold(-1.5),
        Threshold(0.5, by="p_call"),
        Threshold(2.25, by="entropy"),
        Threshold(0.7, by="top2"),
        Threshold(-2.5, by="gate+entropy"),
        FittedThreshold(),
        Budget(0.22, by="gate+entropy"),
    ],
)
def test_text_form_goes_round(policy):
    assert parse_policy(str(policy)) == policy
    assert parse_policy(f"  {policy} ") == policy


@pytest.mark.parametrize(
    "text",
    [
        "", "sometimes", "budget", "budget=", "budget=x", "budget=nan", "never=1", "oracle",
        "budget=0.2,by=mood", "budget=0.2,seed", "budget=0.2,window=0", "threshold=1,by=random",
        "entropy=1,by=margin", "budget=0.2,seed=1,seed=2", "random=0.1,by=margin",
    ],
)  # fmt: skip
def test_invalid_policies_list_the_valid_forms(text):
    with pytest.raises(LacyError) as caught:
        parse_policy(text)
    assert caught.value.code == "E61" and "budget=0.22" in caught.value.do


@pytest.mark.parametrize("text", ["budget=1.5", "budget=-0.1", "random=22"])
def test_rates_are_shares(text):
    with pytest.raises(LacyError, match="E12"):
        parse_policy(text)


def stream(policy, rng, draw, *, rows=1, tokens=4000, answer=lambda rng: 1):
    """Run a controller over simulated margins; returns the realised rate and the calls' margins."""
    controller = policy.start()
    asked = total = 0
    called, every = [], []
    while total < tokens:
        margin = draw(rng, rows)
        decisions = controller.decide(signals(margin, entropy=margin, top2=-margin))
        every.extend(margin)
        step_asked = step_total = made = 0
        for value, decision in zip(margin, decisions, strict=True):
            spoken = answer(rng) if decision.call else 1
            made += decision.call
            step_asked += spoken * decision.call
            step_total += spoken
            if decision.call:
                called.append(value)
        controller.account(calls=made, asked=step_asked, tokens=step_total)
        asked += step_asked
        total += step_total
    return asked / total, called, every


SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "two bumps": lambda rng, n: np.where(
        rng.random(n) < 0.15, rng.normal(5, 1, n), rng.normal(-5, 1, n)
    ),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "always above zero": lambda rng, n: 40 + rng.random(n),
    "three values": lambda rng, n: rng.integers(0, 3, n).astype(float),
    "constant": lambda rng, n: np.zeros(n),
}


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    rate=st.sampled_from([0.02, 0.1, 0.15, 0.22, 0.5, 0.8]),
    by=st.sampled_from(["margin", "entropy", "top2", "random"]),
    rows=st.sampled_from([1, 8, 32]),
    longest=st.sampled_from([1, 4, 9]),
    seed=st.integers(0, 10_000),
)
def test_budget_is_kept_within_a_point(shape, rate, by, rows, longest, seed):
    def answer(rng):
        return int(rng.integers(1, longest + 1))

    rng = np.random.default_rng(seed)
    policy = Budget(rate, by=by, seed=seed)
    realised, _, _ = stream(policy, rng, SHAPES[shape], rows=rows, answer=answer)
    assert realised == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.22])
@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("by", ["margin", "random"])
def test_the_rate_counts_tokens_also_in_short_texts(rate, each, by):
    """Over many texts; at first nothing is known of the signals or of the tokens per call."""
    realised = [
        stream(Budget(rate, by=by, seed=seed), np.random.default_rng(seed), SHAPES["normal"],
               tokens=100, answer=lambda rng: each)[0]
        for seed in range(150)
    ]  # fmt: skip
    assert np.mean(realised) < rate + 0.02
    assert np.mean(realised) > (0.75 * rate if by == "random" or rate > 0.05 else 0.0)


def test_calls_without_an_answer_leave_a_rate():
    controller = Budget(0.5, by="random").start()
    for _ in range(50):
        [decision] = controller.decide(signals([0.0]))
        controller.account(calls=int(decision.call), asked=0, tokens=1)
    # Nothing of the budget of 25 tokens is used: 0.5 + 25 / 100, at one token per call.
    assert controller.decide(signals([0.0]))[0].limit == pytest.approx(1 - 0.75)


def test_budget_calls_at_the_largest_margins():
    rng = np.random.default_rng(0)
    _, called, every = stream(Budget(0.2), rng, SHAPES["normal"], rows=4, tokens=20_000)
    best = sorted(every, reverse=True)[: len(called)]
    # Perfect placement would reach the mean of the best; the running quantile comes close.
    assert np.mean(called) > 0.95 * np.mean(best)
    _, at_random, _ = stream(Random(0.2), np.random.default_rng(0), SHAPES["normal"], tokens=20_000)
    assert abs(np.mean(at_random)) < 0.1


def test_budget_follows_margins_that_drift():
    rng = np.random.default_rng(1)
    clock = iter(range(10**9))
    drift = lambda rng, n: rng.normal(next(clock) / 200, 1, n)  # noqa: E731
    realised, _, _ = stream(Budget(0.22), rng, drift, tokens=6000)
    assert realised == pytest.approx(0.22, abs=0.01)


def test_extremes_and_nan():
    rng = np.random.default_rng(2)
    assert stream(Budget(0.0), rng, SHAPES["normal"], tokens=500)[0] == 0.0
    assert stream(Budget(1.0), rng, SHAPES["normal"], tokens=500)[0] == 1.0
    controller = Budget(0.5).start()
    for _ in range(100):
        made = controller.decide(signals([math.nan, 1.0]))
        controller.account(calls=sum(d.call for d in made), asked=0, tokens=2)
    assert not controller.decide(signals([math.nan]))[0].call or controller.used == 0


def test_initial_signals_give_the_threshold_from_the_first_token():
    seeds = tuple(np.linspace(0, 1, 500))
    first = Budget(0.2, initial_signals=seeds).start().decide(signals([0.9, 0.5]))
    assert [d.call for d in first] == [True, False]
    assert not Budget(0.2).start().decide(signals([0.9]))[0].call
    top2 = (
        Budget(0.2, by="top2", initial_signals=seeds)
        .start()
        .decide(signals([0, 0], top2=[0.1, 0.5]))
    )
    assert [d.call for d in top2] == [True, False]


def test_controllers_are_fresh_and_repeatable():
    policy = Random(0.3, seed=5)
    runs = [
        stream(policy, np.random.default_rng(0), SHAPES["normal"], tokens=300)[1] for _ in range(2)
    ]
    assert runs[0] == runs[1]
    other = stream(Random(0.3, seed=6), np.random.default_rng(0), SHAPES["normal"], tokens=300)[1]
    assert other != runs[0]
