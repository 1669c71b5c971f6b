"""Model families: each works, or is refused at the start (benchmarks/families.py tests all)."""

import families
import pytest


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return families.prepare(tmp_path_factory.mktemp("families"))


@pytest.mark.parametrize(
    "kind", ["llama", "qwen2", "phi3", "gemma3_text", "gpt2", "gpt_neo", "deepseek_v3", "mixtral"]
)
def test_works_from_training_to_plain_transformers(prepared, tmp_path, kind):
    assert families.tried(kind, *prepared, tmp_path) == "ok"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("phi", "head bias"),
        ("gemma2", "final_logit_softcapping"),
        ("cohere", "logit_scale"),
        ("bloom", "documents packed into one row"),
        ("mamba", "more than keys and values"),
        ("hy_v4", "more than keys and values"),
        ("xlstm", "a forward pass fails"),
        ("cpmant", "not of one size"),
    ],
)
def test_unsupported_models_are_refused_before_training(prepared, tmp_path, kind, why):
    found = families.tried(kind, *prepared, tmp_path)
    assert found.startswith("[E58]") and why in found


def test_the_benchmark_covers_all_families():
    assert len(families.families()) > 150
