"""A batch in pieces gives the loss, the choice and the gradient of the batch in one piece."""

import numpy as np
import pytest
import torch

from lacy.corpus import PackedData
from lacy.model import build, head_weight
from lacy.objective import RunningQuantile, loss, select, token_losses
from lacy.testing import byte_tokenizer
from lacy.train.step import SUMS, Body, Micro, Stepper, _chance

CPU = torch.device("cpu")
OBJECTIVE = {"method": "lacy", "call_rate": 0.1, "call_negative": "softmax", "text_weight": 0.1,
             "ignore": "none", "ignore_rate": 0.15}  # fmt: skip


@pytest.fixture(scope="module")
def packed(data):
    return PackedData.load(data)


@pytest.fixture
def model(packed):
    model = build("tiny", packed.tokenizer, context=packed.context, seed=1)
    with torch.no_grad():  # uneven losses, as of a model that has learned something
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def pieces(packed, rows, count):
    return [Micro.of(packed.batch(part), CPU) for part in np.array_split(np.asarray(rows), count)]


def run(model, micros, way, objective=OBJECTIVE, selector=None):
    model.zero_grad()
    sums = Stepper(model, Body(model), way, selector)(micros, objective, seed=3)
    grads = [p.grad.clone() for p in model.parameters()]
    return dict(zip(SUMS, sums.tolist(), strict=True)), grads


@pytest.mark.parametrize("method", ["lacy", "loss_top", "random", "marks_only", "none"])
@pytest.mark.parametrize("ignore", ["none", "facts", "all"])
def test_two_passes_over_pieces_are_one_batch(packed, model, method, ignore):
    objective = OBJECTIVE | {"method": method, "ignore": ignore}
    if method == "none":
        objective |= {"ignore": "none", "call_negative": "none"}
    whole, expected = run(model, pieces(packed, range(6), 1), "exact", objective)
    for count in (2, 3):
        parts, found = run(model, pieces(packed, range(6), count), "two_pass", objective)
        for name in SUMS:
            assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("within", ["batch", "sequence"])
@pytest.mark.parametrize("delegate", ["value", "start"])
def test_values_are_chosen_over_all_pieces(packed, model, delegate, within):
    rate = 0.1 if within == "batch" else 0.25  # of 48 bytes: room for a value
    objective = OBJECTIVE | {"delegate": delegate, "rank_within": within, "call_rate": rate}
    whole, expected = run(model, pieces(packed, range(6), 1), "exact", objective)
    parts, found = run(model, pieces(packed, range(6), 3), "two_pass", objective)
    by_token, _ = run(
        model, pieces(packed, range(6), 1), "exact", objective | {"delegate": "token"}
    )
    assert 0 < whole["delegated"] <= by_token["delegated"] and whole["call"] != by_token["call"]
    for name in SUMS:
        assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_choosing_piece_by_piece_is_another_choice(packed, model):
    """The control of the test above: without the second pass the gradients do differ."""
    _, expected = run(model, pieces(packed, range(6), 1), "exact")
    _, found = run(model, pieces(packed, range(6), 3), "exact")
    assert max((a - b).abs().max() for a, b in zip(expected, found, strict=True)) > 1e-4


@pytest.mark.parametrize("way", ["exact", "gathered"])
def test_against_the_functions_of_the_objective(packed, model, way):
    (micro,) = pieces(packed, range(5), 1)
    found, grads = run(model, [micro], way)
    hidden = Body(model)(micro.ids_BT, micro.positions_BT)
    head = head_weight(model)
    losses = token_losses(hidden, head, micro.targets_BT)
    call = select.choose("lacy", losses, micro.marks_BT, 0.1, micro.valid_BT)
    expected = loss(hidden, head, micro.targets_BT, call, call_negative="softmax", text_weight=0.1,
                    impl="reference")  # fmt: skip
    model.zero_grad()
    expected.total.backward()
    count = int(micro.valid_BT.sum())
    assert found["positions"] == count
    assert found["delegated"] == int(call.sum()) == round(0.1 * count)
    assert found["total"] / count == pytest.approx(expected.total.item(), rel=1e-5)
    assert found["text"] == pytest.approx(float(losses[micro.valid_BT & ~call].sum()), rel=1e-5)
    for one, parameter in zip(grads, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_running_quantile_keeps_the_rate_on_average(packed, model):
    selector = RunningQuantile(0.1)
    delegated = positions = 0
    for step in range(12):
        micros = pieces(packed, [(4 * step + i) % len(packed) for i in range(4)], 2)
        sums, _ = run(model, micros, "running", selector=selector)
        delegated, positions = delegated + sums["delegated"], positions + sums["positions"]
    assert delegated / positions == pytest.approx(0.1, abs=0.01)
    assert selector.measured_rate == pytest.approx(delegated / positions)


def test_chance_is_a_function_of_the_seed(packed, model):
    objective = OBJECTIVE | {"method": "random"}
    micros = pieces(packed, range(4), 1)
    torch.manual_seed(0)
    _, first = run(model, micros, "exact", objective)
    torch.manual_seed(1)
    _, again = run(model, micros, "exact", objective)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_bfloat16_is_near(packed, model):
    micros = pieces(packed, range(2), 1)
    whole, _ = run(model, micros, "exact")
    model.zero_grad()
    sums = Stepper(model, Body(model), "exact", bf16=True)(micros, OBJECTIVE, seed=3)
    near = dict(zip(SUMS, sums.tolist(), strict=True))
    assert near["total"] == pytest.approx(whole["total"], rel=0.02)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("seed", [-3, 2**64, 10**30])
def test_any_whole_number_is_a_seed(seed):
    device = torch.device("cpu")
    first, second = (torch.rand(4, generator=_chance(seed, device)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(4, generator=_chance(seed + 1, device)))
    build("tiny", byte_tokenizer(), context=16, seed=seed, width=8, layers=1, heads=1, kv_heads=1)
