"""A split batch gives the loss, choice and gradient of the whole batch; ``fit`` runs the steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lacy.corpus import PackedData
from lacy.model import build_model, head_weight
from lacy.objective import (
    Objective,
    RunningQuantile,
    choose_targets,
    loss,
    select_and_loss,
    token_losses,
)
from lacy.testing import byte_tokenizer
from lacy.train import FitState, MicroBatch, fit
from lacy.train.batches import SUMS
from lacy.train.fitting import ModelBody, _generator

CPU = torch.device("cpu")
OBJECTIVE = Objective(call_rate=0.1, text_weight=0.1)


@pytest.fixture(scope="module")
def packed(data):
    return PackedData.load(data)


@pytest.fixture
def model(packed):
    model = build_model("tiny", packed.tokenizer, context=packed.context, seed=1)
    with torch.no_grad():  # uneven losses, as of a model that has learned something
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def micro_batches(packed, rows, count):
    return [
        MicroBatch.of(packed.batch(part), CPU) for part in np.array_split(np.asarray(rows), count)
    ]


class OneProcess:
    """An accelerator of a single process, so that losses are gathered as for several."""

    process_index, num_processes = 0, 1

    def gather(self, tensor):
        return tensor


def run(model, micros, objective=OBJECTIVE, **options):
    model.zero_grad()
    sums = FitState(model, (), **options).gradients(micros, objective, seed=3)
    grads = [p.grad.clone() for p in model.parameters()]
    return dict(zip(SUMS, sums.tolist(), strict=True)), grads


@pytest.mark.parametrize("method", ["lacy", "loss_top", "random", "marks_only", "none"])
@pytest.mark.parametrize("ignore", ["none", "facts", "all"])
def test_two_passes_over_micro_batches_are_one_batch(packed, model, method, ignore):
    objective = replace(OBJECTIVE, method=method, ignore=ignore)
    if method == "none":
        objective = objective.plain()
    whole, expected = run(model, micro_batches(packed, range(6), 1), objective)
    for count in (2, 3):
        parts, found = run(model, micro_batches(packed, range(6), count), objective)
        for name in SUMS:
            assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("within", ["batch", "sequence"])
@pytest.mark.parametrize("delegate", ["value", "start"])
def test_values_are_chosen_over_all_micro_batches(packed, model, delegate, within):
    rate = 0.1 if within == "batch" else 0.25  # of 48 bytes: room for a value
    objective = replace(OBJECTIVE, delegate=delegate, rank_within=within, call_rate=rate)
    whole, expected = run(model, micro_batches(packed, range(6), 1), objective)
    parts, found = run(model, micro_batches(packed, range(6), 3), objective)
    by_token, _ = run(
        model, micro_batches(packed, range(6), 1), replace(objective, delegate="token")
    )
    assert 0 < whole["delegated"] <= by_token["delegated"] and whole["call"] != by_token["call"]
    for name in SUMS:
        assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_choosing_in_each_micro_batch_is_another_choice(packed, model):
    """The control of the test above: without the first pass the gradients do differ."""
    _, expected = run(model, micro_batches(packed, range(6), 1))
    model.zero_grad()
    micros = micro_batches(packed, range(6), 3)
    whole = sum(int(micro.valid_BT.sum()) for micro in micros)
    for micro in micros:
        hidden = ModelBody(model)(micro.ids_BT, micro.positions_BT)
        part = select_and_loss(
            hidden, head_weight(model), micro.targets_BT, micro.marks_BT, OBJECTIVE
        )
        (part.loss.total * part.loss.positions / whole).backward()
    found = [parameter.grad for parameter in model.parameters()]
    assert max((a - b).abs().max() for a, b in zip(expected, found, strict=True)) > 1e-4


@pytest.mark.parametrize("accelerator", [None, OneProcess()])
def test_against_the_functions_of_the_objective(packed, model, accelerator):
    (micro,) = micro_batches(packed, range(5), 1)
    found, grads = run(model, [micro], accelerator=accelerator)
    hidden = ModelBody(model)(micro.ids_BT, micro.positions_BT)
    head = head_weight(model)
    losses = token_losses(hidden, head, micro.targets_BT)
    call = choose_targets(OBJECTIVE, losses, micro.marks_BT, micro.valid_BT)[0]
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
    quantile = RunningQuantile(0.1)
    delegated = positions = 0
    for step in range(12):
        micros = micro_batches(packed, [(4 * step + i) % len(packed) for i in range(4)], 2)
        sums, _ = run(model, micros, quantile=quantile)
        delegated, positions = delegated + sums["delegated"], positions + sums["positions"]
    assert delegated / positions == pytest.approx(0.1, abs=0.01)


def test_random_choices_are_a_function_of_the_seed(packed, model):
    objective = replace(OBJECTIVE, method="random")
    micros = micro_batches(packed, range(4), 1)
    torch.manual_seed(0)
    _, first = run(model, micros, objective)
    torch.manual_seed(1)
    _, again = run(model, micros, objective)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_bfloat16_is_near(packed, model):
    micros = micro_batches(packed, range(2), 1)
    whole, _ = run(model, micros)
    model.zero_grad()
    sums = FitState(model, (), bf16=True).gradients(micros, OBJECTIVE, seed=3)
    near = dict(zip(SUMS, sums.tolist(), strict=True))
    assert near["total"] == pytest.approx(whole["total"], rel=0.02)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("seed", [-3, 2**64, 10**30])
def test_any_whole_number_is_a_seed(seed):
    device = torch.device("cpu")
    first, second = (torch.rand(4, generator=_generator(seed, device)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(4, generator=_generator(seed + 1, device)))
    build_model(
        "tiny", byte_tokenizer(), context=16, seed=seed, width=8, layers=1, heads=1, kv_heads=1
    )


def test_fit_trains_from_any_state(packed, model):
    state = FitState.start(model, lr=1e-2)
    batches = [packed.batch(np.arange(4)) for _ in range(6)]
    first = [done.loss for done in fit(state, batches[:3], OBJECTIVE)]
    second = list(fit(state, batches[3:], OBJECTIVE, lr=lambda step: 0.01 / step))
    assert [done.step for done in second] == [4, 5, 6]
    assert [done.lr for done in second] == [0.01 / 3, 0.01 / 4, 0.01 / 5]
    assert second[-1].loss < first[0]
    assert second[-1].call_rate == pytest.approx(0.1, abs=0.01)


def test_fit_changes_only_what_is_trainable(packed, model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = FitState.start(model, trainable=lambda name, _: "layers.2" in name)
    (done,) = fit(state, [packed.batch(np.arange(4))], OBJECTIVE)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("layers.2" not in name), name
    assert float(done.grad_norm) > 0


def test_fit_takes_another_optimizer_and_leaves_its_rate(packed, model):
    head = [head_weight(model)]
    state = FitState.start(model, optimizer=torch.optim.SGD(head, lr=0.5))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    halves = [packed.batch(np.arange(2)), packed.batch(np.arange(2, 4))]
    (done,) = fit(state, [halves], OBJECTIVE)
    assert done.lr == 0.5
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new) == (new is not head[0])


def test_texts_without_marks_train_a_plain_model(packed, model):
    """Columns of any tokenized texts are enough if nothing is delegated."""
    ids = packed.batch(np.arange(4))["input_ids"]
    state = FitState.start(model, lr=1e-2)
    losses = [done.loss for done in fit(state, [{"input_ids": ids}] * 3, Objective().plain())]
    expected = torch.nn.functional.cross_entropy
    assert losses[-1] < losses[0]
    fresh = build_model("tiny", packed.tokenizer, context=packed.context, seed=5)
    logits = fresh(input_ids=torch.as_tensor(ids).long()).logits[:, :-1, :-1]
    targets = torch.as_tensor(ids).long()[:, 1:]
    (done,) = fit(FitState.start(fresh), [{"input_ids": ids}], Objective().plain())
    assert done.loss == pytest.approx(expected(logits.mT, targets).item(), rel=1e-5)
