"""Distillation as a loss of ``fit``: where the teacher is imitated, and what it replaces."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from lacy.distill import DistillLoss, DistillSettings, LiveTeacher, RowPredictions
from lacy.errors import LacyError
from lacy.model import head_weight, hidden_states
from lacy.objective import Objective
from lacy.train import FitState, MicroBatch, fit
from lacy.train.batches import SUMS
from lacy.types import MarkFlag

CPU = torch.device("cpu")
PLAIN = Objective().plain()
CALLS = Objective(call_rate=0.1, text_weight=0.1)


def micro_batches(packed, rows, count=1):
    parts = np.array_split(np.asarray(rows), count)
    return [MicroBatch.of(packed.batch(part), CPU, rows=part.tolist()) for part in parts]


def gradients(loaded, micros, objective, extra=None):
    model = deepcopy(loaded.model)
    sums = FitState(model, ()).gradients(micros, objective, seed=3, extra=extra)
    grads = {name: p.grad for name, p in model.named_parameters()}
    return dict(zip(SUMS, sums.tolist(), strict=True)), grads


def loss_of(teacher, **settings):
    return DistillLoss(LiveTeacher(teacher.model), DistillSettings(**settings))


def assert_equal(one, two, **tolerance):
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(
            gradient, two[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("objective", [PLAIN, CALLS])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_of_a_step_is_the_formula(packed, student, teacher, objective, weight):
    """(1 - w) text + call + w D, by autograd through all logits."""
    micros = micro_batches(packed, range(4))
    extra = loss_of(teacher, weight=weight, imitate="all")
    sums, found = gradients(student, micros, objective, extra)
    alone, hard = gradients(student, micros, objective)

    model, (micro,) = deepcopy(student.model), micros
    hidden = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
    logp = torch.log_softmax(hidden @ head_weight(model)[:-1].T, -1)
    with torch.no_grad():
        other = hidden_states(teacher.model, micro.ids_BT, positions_BT=micro.positions_BT)
        logq = torch.log_softmax(other @ head_weight(teacher.model)[:-1].T, -1)
    by_token = (logq.exp() * (logq - logp)).sum(-1)[micro.valid_BT]
    by_token.mean().backward()
    soft = {name: p.grad for name, p in model.named_parameters()}
    if objective is PLAIN:  # then all of the objective is text
        assert sums["total"] == pytest.approx(
            (1 - weight) * alone["total"] + weight * float(by_token.detach().sum()), rel=1e-4
        )
        mixed = {name: (1 - weight) * hard[name] + weight * soft[name] for name in soft}
        assert_equal(found, mixed, rtol=1e-3, atol=1e-5)
    else:  # and what teaches <CALL> keeps its weight
        row_D, wanted_D = (grads["model.embed_tokens.weight"][-1] for grads in (found, hard))
        assert row_D.norm() > 0
        torch.testing.assert_close(row_D, wanted_D)


def test_micro_batches_are_one_batch(packed, student, teacher):
    extra = loss_of(teacher, imitate="undelegated", weight=0.6)
    whole, expected = gradients(student, micro_batches(packed, range(6)), CALLS, extra)
    parts, found = gradients(student, micro_batches(packed, range(6), 3), CALLS, extra)
    assert parts["total"] == pytest.approx(whole["total"], rel=1e-5)
    assert_equal(found, expected, rtol=1e-3, atol=1e-5)


class Elsewhere:
    """A teacher that says something else than another one where a mask is true."""

    temperature = 1.0

    def __init__(self, teacher, mask):
        self.teacher, self.mask = teacher, mask

    def predict(self, micro, dtype):
        predictions, changed = self.teacher.predict(micro, dtype), self.mask(micro).flatten()

        class Changed:
            def chunk(self, rows):
                logq = predictions.chunk(rows).logq_nM
                return RowPredictions(torch.where(changed[rows][:, None], logq.flip(1), logq))

        return Changed()


def fact_targets(micro):
    return (micro.marks_BT & int(MarkFlag.FACT)) != 0


def test_nothing_is_taken_over_at_fact_tokens(packed, student, teacher):
    micros, live = micro_batches(packed, range(4)), LiveTeacher(teacher.model)
    assert fact_targets(micros[0]).any()
    lying = Elsewhere(live, fact_targets)
    for imitate, same in (("unmarked", True), ("all", False)):
        settings = DistillSettings(imitate=imitate)
        (_, honest), (_, other) = (
            gradients(student, micros, PLAIN, DistillLoss(who, settings)) for who in (live, lying)
        )
        equal = all(torch.equal(honest[name], other[name]) for name in honest)
        assert equal == same


def test_nothing_is_taken_over_where_the_objective_delegates(packed, student, teacher):
    micros = micro_batches(packed, range(4))
    chosen = []

    class Recording(DistillLoss):
        def __call__(self, micro, hidden, head, call, ignore):
            chosen.append(self.weights(micro, call, ignore)[call])
            return super().__call__(micro, hidden, head, call, ignore)

    live = LiveTeacher(teacher.model)
    gradients(student, micros, CALLS, Recording(live, DistillSettings(imitate="undelegated")))
    gradients(
        student, micros, CALLS,
        Recording(live, DistillSettings(imitate="undelegated", fact_weight=0.25)),
    )  # fmt: skip
    assert len(chosen[0]) and not chosen[0].any() and (chosen[1] == 0.25).all()


def test_ignored_targets_are_not_imitated(packed, student, teacher):
    (micro,) = micro_batches(packed, range(2))
    extra = loss_of(teacher, imitate="all")
    nothing, everything = torch.zeros_like(micro.valid_BT), torch.ones_like(micro.valid_BT)
    assert not extra.weights(micro, nothing, everything).any()
    assert torch.equal(extra.weights(micro, nothing, nothing), micro.valid_BT.float())


def test_fit_brings_the_student_to_its_teacher(packed, student, teacher):
    row_D = student.model.get_output_embeddings().weight[-1].detach().clone()
    batches = [packed.batch(range(8))] * 60
    steps = list(
        fit(
            FitState.start(student.model, lr=1e-2), batches, PLAIN,
            extra=loss_of(teacher, imitate="all"),
        )
    )  # fmt: skip
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert torch.equal(student.model.get_output_embeddings().weight[-1], row_D)


@pytest.mark.parametrize(
    "wrong", [{"weight": 1.5}, {"temperature": 0.0}, {"divergence": "kl"}, {"fact_weight": -1},
              {"imitate": "some"}, {"temperature": float("inf")}],
)  # fmt: skip
def test_invalid_settings(teacher, wrong):
    with pytest.raises(LacyError, match="E12"):
        loss_of(teacher, **wrong)
