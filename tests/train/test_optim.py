import pytest
import torch

from lacy.errors import LacyError
from lacy.model import build_model
from lacy.testing import byte_tokenizer
from lacy.train.optim import load_state_tensors, make_optimizers, set_lr, state_tensors


def make(optimizer="adamw", preset="tiny", seed=0):
    shape = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 2, "ffn": 64}
    model = build_model(preset, byte_tokenizer(), context=16, seed=seed, **shape)
    return model, make_optimizers(model, kind=optimizer, weight_decay=0.1, lr=1e-2)


def some_steps(model, optimizers, count, first=0):
    for step in range(first, first + count):
        ids = torch.randint(0, 250, (2, 16), generator=torch.Generator().manual_seed(step))
        model(input_ids=ids, labels=ids).loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("preset", ["tiny", "334m"])
def test_matrices_of_the_body_decay_and_nothing_else(preset):
    model, (optimizer,) = make(preset=preset)
    decays = {
        id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]
    }
    covered = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(covered) == len({id(p) for p in covered})
    assert {id(p) for p in covered} == {id(p) for p in model.parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim == 2 and not any(t in name for t in ("embed", "wte", "wpe", "head"))
        assert (id(parameter) in decays) == matrix, name


def test_muon_takes_the_matrices_of_the_body():
    model, (muon, adamw) = make("muon")
    names = {id(p): name for name, p in model.named_parameters()}
    mine = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert all("proj" in name for name in mine) and len(mine) == 14
    assert not mine & rest and mine | rest == set(names.values())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimizer_state_resumes_bit_for_bit(kind):
    model, optimizers = make(kind)
    some_steps(model, optimizers, 3)
    state = state_tensors(model, optimizers)
    other, others = make(kind, seed=9)
    other.load_state_dict(model.state_dict())
    load_state_tensors(other, others, state)
    for pair in ((model, optimizers), (other, others)):
        set_lr(pair[1], 3e-3)
        some_steps(*pair, 2, first=3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_state_of_another_model_is_refused():
    model, optimizers = make()
    some_steps(model, optimizers, 1)
    state = {"elsewhere." + key: value for key, value in state_tensors(model, optimizers).items()}
    with pytest.raises(LacyError, match="elsewhere") as caught:
        load_state_tensors(model, optimizers, state)
    assert caught.value.code == "E49"
