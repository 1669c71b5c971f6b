"""Types within a budget of bytes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.quantizable import copied, family, llama, logits, rows
from lacy.errors import LacyError
from lacy.model import BLOCK_TYPES
from lacy.quantize import MatrixCosts, choose_types, matrix_costs, quantize, search_matrix
from lacy.quantize.parts import matrices_of, sizes_of, tables_of

KINDS = ("q4_0", "q4_1", "q5_1", "q8_0")


def costs_of(losses):
    sizes = {kind: BLOCK_TYPES[kind].size for kind in KINDS}
    return [
        MatrixCosts(str(n), {k: size * (n + 1) for k, size in sizes.items()}, dict(zip(KINDS, x)))  # noqa: B905
        for n, x in enumerate(losses)
    ]


losses = st.lists(
    st.lists(st.floats(0, 1), min_size=4, max_size=4).map(lambda x: sorted(x, reverse=True)),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(losses=losses, share=st.floats(0, 1))
def test_the_loss_is_the_smallest_up_to_one_step(losses, share):
    """A slow search over all combinations, with the largest step of one matrix less."""
    costs = costs_of(losses)
    least, most = (sum(f(c.bytes.values()) for c in costs) for f in (min, max))
    budget = round(least + share * (most - least))
    chosen = choose_types(costs, budget)
    assert sum(c.bytes[chosen[c.name]] for c in costs) <= budget
    step = max(max(c.bytes.values()) - min(c.bytes.values()) for c in costs)
    best = min(
        (
            sum(c.loss[k] for c, k in zip(costs, kinds, strict=True))
            for kinds in itertools.product(KINDS, repeat=len(costs))
            if sum(c.bytes[k] for c, k in zip(costs, kinds, strict=True)) <= budget - step
        ),
        default=float("inf"),
    )
    assert sum(c.loss[chosen[c.name]] for c in costs) <= best + 1e-9


def test_all_bytes_give_the_best_types_and_few_the_smallest():
    costs = costs_of([[0.9, 0.5, 0.2, 0.0], [0.3, 0.29, 0.1, 0.01], [0.5, 0.1, 0.09, 0.0]])
    least, most = (sum(f(c.bytes.values()) for c in costs) for f in (min, max))
    assert set(choose_types(costs, most).values()) == {"q8_0"}
    assert set(choose_types(costs, least).values()) == {"q4_0"}


def test_a_budget_that_is_too_small_is_an_error():
    with pytest.raises(LacyError, match=r"E285.*q4_0"):
        choose_types(costs_of([[1, 1, 1, 0]]), 10)


@pytest.mark.parametrize("make", [llama, lambda: llama(tied=False), lambda: family("gpt2")])
def test_every_matrix_has_costs_that_fall_with_the_bits(make):
    loaded = make()
    before = logits(loaded)
    costs = matrix_costs(loaded, rows(), KINDS)
    assert torch.equal(logits(loaded), before)
    assert all(p.requires_grad for p in loaded.model.parameters())
    assert {cost.name for cost in costs} == sizes_of(loaded.model).keys()
    for cost in costs:
        assert cost.loss["q4_0"] > cost.loss["q5_1"] > cost.loss["q8_0"] >= 0
        assert cost.bytes["q4_0"] < cost.bytes["q8_0"]


def kl(loaded, reference):
    total = count = 0.0
    for ids_BT in rows():
        with torch.no_grad():
            old, new = (
                m.model(input_ids=ids_BT).logits[..., :-1].log_softmax(-1)
                for m in (reference, loaded)
            )
        total += float((old.exp() * (old - new)).sum())
        count += ids_BT.numel()
    return total / count


def test_costs_rank_matrices_as_the_divergence_of_the_whole_model_does():
    """The slow way: round one matrix at a time and run the model."""
    reference = llama(initializer_range=0.05)
    costs = {cost.name: cost.loss["q4_0"] for cost in matrix_costs(reference, rows(), ("q4_0",))}
    measured = {}
    for name in costs:
        changed = copied(reference)
        tables, inner = tables_of(changed.model), matrices_of(changed.model)
        weight = tables[name].detach() if name in tables else inner[name].weight_OI
        weight.copy_(search_matrix(weight, "q4_0").dequantized())
        measured[name] = kl(changed, reference)
    names = list(costs)
    ranks = [
        torch.tensor([values[name] for name in names]).log().argsort().argsort().float()
        for values in (costs, measured)
    ]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.6


def test_quantizing_with_chosen_types_fits_the_budget():
    loaded = llama()
    costs = matrix_costs(loaded, rows())
    budget = round(
        sum(rows * columns for rows, columns in sizes_of(loaded.model).values()) * 5.2 / 8
    )
    report = quantize(loaded, rows(), choose_types(costs, budget)).report
    assert 0.97 * budget < report.bytes <= budget
    assert len({m.kind for m in report.matrices}) > 1


def test_a_quantized_model_keeps_its_types():
    loaded = quantize(llama(), rows(), "q4_1", table="q5_1").loaded
    for cost in matrix_costs(loaded, rows()):
        kept = "q5_1" if "embed" in cost.name else "q4_1"
        assert cost.loss[kept] == 0.0
        assert max(cost.bytes, key=lambda kind: cost.bytes[kind]) == kept
