"""Models whose logits are not plainly states times head: their row is tuned as well."""

import families
import pytest

from helpers.raw import save_raw
from lacy.model import load_model
from lacy.tune import tune


@pytest.mark.parametrize("kind", ["phi", "gemma2", "cohere", "mamba", "qwen3_5_text", "opt"])
@pytest.mark.filterwarnings("ignore")
def test_the_row_of_any_architecture_is_tuned(kind, articles, tmp_path):
    folder = save_raw(tmp_path / "raw", families.tiny(kind, 257))
    result = tune(folder, articles, out=tmp_path / "tuned")
    assert load_model(tmp_path / "tuned").calls
    assert result
