"""The head of any architecture as numbers gives the logits that the model computes."""

import families
import pytest
import torch

from helpers.raw import raw_llama, save_raw
from lacy.errors import LacyError
from lacy.model import (
    has_plain_head,
    head_inputs,
    hidden_states,
    layer_states,
    load_model,
    read_head,
)

KINDS = ["llama", "gemma2", "phi", "gpt2", "opt", "cohere", "granite"]


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    plain = families.tiny(request.param, 257)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return load_model(save_raw(tmp_path / "raw", plain)).model.eval()


def test_logits_are_the_models_own(model):
    head = read_head(model)
    ids = torch.arange(2, 60).view(1, -1)
    with torch.no_grad():
        hidden, logits = head_inputs(model, ids)
    torch.testing.assert_close(head.logits(hidden[0]), logits[0], atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(head.text_rows().logits(hidden[0]), head.logits(hidden[0])[:, :-1])
    shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert head.tied == shared


def test_the_slope_is_the_derivative(model):
    head = read_head(model)
    output = torch.linspace(-3, 3, 20).repeat(2, 1).requires_grad_()
    head.finish(output).sum().backward()
    slope = head.slope(head.finish(output.detach()))
    torch.testing.assert_close(output.grad, torch.as_tensor(slope).expand(2, 20))


def test_the_last_layers_states_are_those_before_a_plain_head():
    model = raw_llama()
    ids = torch.arange(2, 40).view(1, -1)
    with torch.no_grad():
        layers = layer_states(model, ids)
        assert len(layers) == 3
        assert has_plain_head(model)
        torch.testing.assert_close(layers[-1], hidden_states(model, ids))
        torch.testing.assert_close(layers[0], model.get_input_embeddings()(ids))


def test_other_logits_are_refused():
    model = raw_llama()
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + 3.0)
    with pytest.raises(LacyError, match="more than its head's output") as caught:
        read_head(model)
    assert caught.value.code == "E58"
