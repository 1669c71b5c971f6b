"""A tuned model of random weights, and marked articles for it."""

import pytest

from helpers.articles import article
from helpers.models import byte_level
from helpers.raw import save_raw
from lacy.corpus import write_documents


@pytest.fixture(scope="module", autouse=True)
def few_articles_to_calibrate_on():
    """Answers of a model of random weights are measured only to compare stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lacy.evaluate.openings.CALIBRATION_ARTICLES", 4)
        yield


@pytest.fixture(scope="session")
def articles(tmp_path_factory):
    """A file of 40 marked articles."""
    path = tmp_path_factory.mktemp("articles") / "articles.jsonl"
    write_documents([article(number) for number in range(40)], path)
    return path


@pytest.fixture(scope="session")
def tuned(articles, tmp_path_factory):
    """The folder of a model with a fitted ``<CALL>`` row."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lacy.tune import tune

    torch.manual_seed(0)
    tokenizer = byte_level()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    raw = save_raw(tmp_path_factory.mktemp("raw"), LlamaForCausalLM(config).eval(), tokenizer)
    out = tmp_path_factory.mktemp("tuned") / "model"
    tune(raw, articles, out=out, progress=False)
    return out
