"""A row for architectures whose heads have biases, caps or scales, and for one without a cache."""

import families
import numpy as np
import pytest
import torch

from helpers.raw import save_raw
from lacy.model import head_inputs, load_model
from lacy.tune import tune

KINDS = ["gpt2", "gemma2", "phi", "cohere", "mamba", *(
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("opt", "qwen3_5_text", "granite")
)]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_logit_of_call_is_the_fitted_gate(kind, articles, tmp_path):
    torch.manual_seed(0)
    plain = families.tiny(kind, 257).eval()
    save_raw(tmp_path / "raw", plain)
    raw = load_model(tmp_path / "raw")
    ids_BT = torch.tensor([raw.tokenizer.encode(articles[0].text)])
    result = tune(tmp_path / "raw", articles, out=tmp_path / "out", target="miss", tokens=64)
    tuned = load_model(tmp_path / "out")
    with torch.inference_mode():
        before_BTV = raw.model.eval()(input_ids=ids_BT).logits
        hidden_BTD, after_BTV = head_inputs(tuned.model.eval(), ids_BT)
    assert torch.equal(before_BTV[..., :-1], after_BTV[..., :-1])
    fitted = (hidden_BTD[0].double().numpy() @ result.row_D).astype(np.float32)
    found = after_BTV[0, :, -1].numpy()
    assert np.corrcoef(fitted, found)[0, 1] > 0.999
    np.testing.assert_array_equal(np.sign(found), np.sign(fitted))
