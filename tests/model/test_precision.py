"""Weights in bfloat16 while a model generates."""

import copy

import pytest
import torch

from helpers import models
from lacy.cascade import Engine, open_engine
from lacy.errors import LacyError
from lacy.model import Decoder, precision, set_precision
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Reply


@pytest.fixture
def loaded():
    return models.llama(models.ALL["byte_level"])


def test_auto_depends_on_the_processor(loaded, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"avx2"})
    assert set_precision(loaded.model, "auto").startswith("Precision: fp32; this CPU has no AVX512")
    assert loaded.model.dtype == torch.float32
    assert set_precision(loaded.model, "fp32") == ""
    assert "slow here" in set_precision(copy.deepcopy(loaded.model), "bf16")
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"avx512_bf16"})
    assert set_precision(loaded.model, "auto").startswith("Precision: bf16, this CPU has AVX512")
    assert loaded.model.dtype == torch.bfloat16
    with pytest.raises(LacyError, match="E12"):
        set_precision(loaded.model, "fp16")


def test_likelihoods_in_bf16_are_close_to_exact_ones(loaded):
    rounded = copy.deepcopy(loaded.model)
    set_precision(rounded, "bf16")
    call_id = loaded.model.config.vocab_size - 1
    scores = []
    for model in (loaded.model, rounded):
        decoder = Decoder(model, call_id=call_id)
        logits = decoder.feed([[5, 6, 7, 8, 9, 10], [9, 8, 7, 6, 5, 4]])
        assert logits.dtype == torch.float32
        groups = [[[3, 4], [3, 4, 5], [8]], [[7, 7, 7]]]
        scores.append(decoder.score([0, 1], groups, whole=True))
    for exact, near in zip(*scores, strict=True):
        assert near == pytest.approx(exact, rel=0.03)
        assert near != exact


def test_a_cascade_runs_in_bf16(loaded):
    values = tuple(Candidate(f" {word}") for word in ("Ulm", "Bern", "Oslo"))
    set_precision(loaded.model, "bf16")
    engine = Engine(
        loaded, ScriptedSource([Reply(values, ranked=True)]), "random=0.3", abstain=None
    )
    answers = engine.generate(["Ada lived in", "Bo"], max_new_tokens=20)
    assert any(span.speaker == "script" for answer in answers for span in answer.spans)
    # A value that does not fit into the last tokens ends a text.
    assert all(12 < answer.tokens <= 20 or answer.finished for answer in answers)


def test_a_server_chooses_its_own_precision():
    with pytest.raises(LacyError, match="E200"):
        open_engine("http://127.0.0.1:9/v1#slm", dtype="bf16")
