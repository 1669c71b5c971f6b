"""Split weights: which are, that norms and states are those of whole ones, and what is refused.

One process splits nothing, but its tensors are those of FSDP2; ``test_processes.py`` uses two.
"""

from dataclasses import replace

import pytest
import torch

from lacy.errors import LacyError
from lacy.model import Memory, build_model, head_weight, load_model, save_model
from lacy.model.presets import get_preset
from lacy.testing import byte_tokenizer
from lacy.train import load_state_tensors, make_optimizers, state_tensors
from lacy.train.dry import _split
from lacy.train.sharding import (
    average_rest,
    clip_gradients,
    is_sharded,
    make_mesh,
    shard_layers,
    whole_weights,
)


@pytest.fixture(scope="module")
def mesh():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield make_mesh(torch.device("cpu"), 1)
    torch.distributed.destroy_process_group()


@pytest.fixture
def pair(mesh):
    """A model with split layers, and the same one whole; both with gradients."""
    shape = replace(get_preset("tiny"), width=16, layers=2, heads=2, kv_heads=2, ffn=32)
    models = [build_model(shape, byte_tokenizer(), context=16, seed=1) for _ in range(2)]
    shard_layers(models[0], mesh)
    ids = torch.arange(32).view(2, 16)
    for model in models:
        model(input_ids=ids, labels=ids).loss.backward()
    return models


def test_layers_are_split_and_the_rest_is_whole(pair):
    split, whole = pair
    for name, parameter in split.named_parameters():
        assert is_sharded(parameter) == (".layers." in name), name
    assert not is_sharded(head_weight(split))
    found = whole_weights(split)
    assert found.keys() == whole.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("most", [0.0, 0.01, 1e3])
def test_gradients_are_clipped_by_the_norm_of_all(pair, most):
    split, whole = pair
    average_rest(list(split.parameters()))
    norm = clip_gradients(list(split.parameters()), most)
    expected = torch.nn.utils.clip_grad_norm_(whole.parameters(), most or float("inf"))
    torch.testing.assert_close(norm, expected)
    for one, other in zip(split.parameters(), whole.parameters(), strict=True):
        grad = one.grad.full_tensor() if is_sharded(one) else one.grad
        torch.testing.assert_close(grad, other.grad)


def test_states_of_optimizers_are_those_of_whole_weights(pair):
    states = []
    for model in pair:
        optimizers = make_optimizers(model, lr=0.01)
        for optimizer in optimizers:
            optimizer.step()
        states.append(state_tensors(model, optimizers))
    split, whole = states
    assert split.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(split[name], tensor)
    again = make_optimizers(pair[0], lr=0.01)
    load_state_tensors(pair[0], again, whole)
    for name, tensor in state_tensors(pair[0], again).items():
        assert torch.equal(tensor, whole[name]), name


def test_what_cannot_be_split_is_refused(pair, mesh, config, monkeypatch):
    monkeypatch.setattr(pair[1], "_no_split_modules", [])
    with pytest.raises(LacyError, match=r"E51.*LlamaForCausalLM.*\n.*--shard"):
        shard_layers(pair[1], mesh)
    with pytest.raises(LacyError, match=r"E45[^$]*shard needs optimizer adamw, not muon"):
        config(shard=True, optimizer="muon").check()


def test_a_dry_run_divides_the_memory_of_the_weights(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    memory = Memory(weights=40, gradients=40, optimizer=80, activations=10, head=10)
    assert _split(config(), memory) == memory
    assert _split(config(shard=True), memory) == Memory(10, 10, 20, 10, 10)


def test_the_written_weights_are_those_given(pair, tmp_path):
    split, whole = pair
    save_model(tmp_path / "m", split, byte_tokenizer(), weights=whole_weights(split))
    found = load_model(tmp_path / "m").model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.state_dict().items())
