"""Models that cannot be pruned are refused by every function, before anything changes."""

import pytest
import torch

from helpers.deep import deep
from lacy.errors import LacyError
from lacy.prune import prune_depth, prune_weights, prune_width

ROWS = [torch.arange(40).view(4, 10)]
FUNCTIONS = {
    "depth": lambda loaded: prune_depth(loaded, ROWS, count=1),
    "width": lambda loaded: prune_width(loaded, ROWS, neurons=32),
    "weights": lambda loaded: prune_weights(loaded, ROWS),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_broken_weights_are_refused(name):
    loaded = deep("llama")
    with torch.no_grad():
        loaded.model.model.layers[2].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(LacyError, match=r"E293.*layers\.2\.mlp\.up_proj"):
        FUNCTIONS[name](loaded)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_quantized_models_are_refused(name):
    pytest.importorskip("torchao", reason="needs the extra quant")
    from lacy.runtimes import quantize_int8

    loaded, _ = quantize_int8(deep("llama"))
    with pytest.raises(LacyError, match="E311"):
        FUNCTIONS[name](loaded)
