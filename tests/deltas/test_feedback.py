"""Error feedback adds up to the truth; means of deltas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.deltas import ErrorFeedback, RunningMean, codec_by_name, shapes_of
from lacy.errors import LacyError


def series(seed, length=6):
    generator = torch.Generator().manual_seed(seed)
    return [
        {"w": torch.randn(30, 7, generator=generator), "b": torch.randn(5, generator=generator)}
        for _ in range(length)
    ]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["int4", "int8", "bf16", "topk", "topk/0.2"]))
def test_what_was_sent_and_the_rest_add_up_to_the_truth(seed, name):
    codec = codec_by_name(name)
    feedback = ErrorFeedback(codec)
    sent = {"w": torch.zeros(30, 7), "b": torch.zeros(5)}
    truth = {"w": torch.zeros(30, 7), "b": torch.zeros(5)}
    for delta in series(seed):
        for key, tensor in codec.decode(feedback.encode(delta), shapes_of(delta)).items():
            sent[key] += tensor
            truth[key] += delta[key]
    for key, rest in feedback.state_dict().items():
        assert torch.allclose(sent[key] + rest, truth[key], atol=1e-4)


def test_the_rest_decays():
    feedback, slow = ErrorFeedback(codec_by_name("topk"), decay=0.5), torch.zeros(30, 7)
    for delta in series(3):
        slow = 0.5 * slow + delta["w"]
        data = feedback.encode(delta)
        slow = slow - feedback.codec.decode(data, shapes_of(delta))["w"]
    assert torch.allclose(feedback.state_dict()["w"], slow, atol=1e-6)


def test_a_saved_state_continues_equally():
    first, second = (ErrorFeedback(codec_by_name("int4")) for _ in range(2))
    deltas = series(1)
    for delta in deltas[:3]:
        first.encode(delta)
    second.load_state_dict(first.state_dict(), shapes_of(deltas[0]))
    assert [first.encode(d) for d in deltas[3:]] == [second.encode(d) for d in deltas[3:]]


def test_a_message_that_nobody_used_is_sent_again():
    feedback, (delta, *_) = ErrorFeedback(codec_by_name("topk")), series(2)
    feedback.give_back(feedback.encode(delta))
    for key, rest in feedback.state_dict().items():
        assert torch.allclose(rest, delta[key], atol=1e-6)


def test_bad_changes_leave_the_rest_as_it_was():
    feedback, (first, second, *_) = ErrorFeedback(codec_by_name("int4")), series(4)
    feedback.encode(first)
    before = feedback.state_dict()
    second["w"][0, 0] = torch.nan
    with pytest.raises(LacyError, match=r"E35[56]"):
        feedback.encode(second)
    with pytest.raises(LacyError, match="E356"):
        feedback.encode({"w": torch.zeros(2)})
    after = feedback.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    with pytest.raises(LacyError, match="E356"):
        feedback.load_state_dict({"w": torch.full((2,), torch.nan)})
    with pytest.raises(LacyError, match="E356"):
        feedback.load_state_dict(before, {"w": (30, 8), "b": (5,)})


def test_a_running_mean_is_the_weighted_mean_in_any_order():
    deltas, weights = series(5), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    results = []
    for order in (range(6), reversed(range(6))):
        mean = RunningMean()
        for number in order:
            mean.add(deltas[number], weights[number])
        results.append(mean.mean())
    slow = sum(w * d["w"].double() for w, d in zip(weights, deltas, strict=True)) / sum(weights)
    assert torch.equal(results[0]["w"], slow.float())
    assert torch.equal(results[0]["w"], results[1]["w"])
    assert RunningMean().mean() == {}


def test_a_mean_refuses_what_does_not_fit():
    mean, (delta, *_) = RunningMean(), series(6)
    mean.add(delta)
    for bad in ({"w": delta["w"]}, {**delta, "b": torch.full((5,), torch.inf)}):
        with pytest.raises(LacyError, match="E356"):
            mean.add(bad)
    assert mean.weight == 1.0
