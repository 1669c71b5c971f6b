"""A real model: SmolLM2 is tuned on twenty short texts."""

import itertools

import pytest
import torch

from lacy.model import load_model
from lacy.tune import tune
from lacy.world import make_world


@pytest.mark.slow
def test_smollm2_learns_where_values_begin_and_writes_the_same(smollm2, smollm2_loaded, tmp_path):
    world = make_world(people=40)
    documents = list(itertools.islice(world.documents("train"), 20))
    result = tune(smollm2, documents, out=tmp_path / "out", tokens=40, progress=False)
    gate, entropy = (result.figures.target[name].auroc for name in ("gate", "entropy"))
    assert gate.value > 0.85 and gate.low > entropy.high
    tuned = load_model(tmp_path / "out")
    ids_BT = torch.tensor([tuned.tokenizer.encode("Marie Curie was born in")])
    with torch.inference_mode():
        before_BTV = smollm2_loaded.model.eval()(input_ids=ids_BT).logits
        after_BTV = tuned.model.eval()(input_ids=ids_BT).logits
    assert torch.equal(before_BTV[..., :-1], after_BTV[..., :-1])
