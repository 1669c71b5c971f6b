"""A local causal model as a judge, with a tiny random model."""

import pytest
import torch

from helpers.raw import raw_llama, raw_tokenizer, save_raw
from lacy.judges import NO_PASSAGES, CausalJudge, Claim, open_judge
from lacy.judges.causal import NO_ROOM
from lacy.judges.endpoint import verification_prompt
from lacy.model import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_raw(tmp_path_factory.mktemp("judge"), raw_llama(context=600))


def claims():
    texts = ["Ada was born.", "Ada was born in London in 1815.", "x", "Ada"]
    return [Claim(text, "Ada", ("Ada was born in 1815.", "p" * 30)) for text in texts]


def test_scores_compare_the_logits_of_both_words(folder):
    loaded = load_model(folder)
    found = CausalJudge(loaded, batch=3).judge(claims())
    tokenizer = raw_tokenizer()
    true, false = ([tokenizer.encode(t)[0] for t in (w, f" {w}")] for w in ("True", "False"))
    for claim, judgment in zip(claims(), found, strict=True):
        ids = [0, *tokenizer.encode(verification_prompt(claim))]  # 0 begins every text
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids])).logits[0, -1]
        odds = torch.logsumexp(logits[sorted(set(true))], 0)
        odds = odds - torch.logsumexp(logits[sorted(set(false))], 0)
        assert judgment.score == pytest.approx(float(torch.sigmoid(odds)), abs=1e-5)
        assert judgment.supported is (judgment.score > 0.5)


def test_passages_that_do_not_fit_are_dropped_from_the_end(folder):
    judge = CausalJudge.open(folder)
    short = Claim("Ada was born.", "Ada", ("Ada was born in 1815.",))
    longer = Claim("Ada was born.", "Ada", ("Ada was born in 1815.", "p" * 700))
    assert judge.judge([longer])[0].score == pytest.approx(judge.judge([short])[0].score, abs=1e-6)
    too_long = Claim("Ada was born.", "Ada", ("p" * 700,))
    assert judge.judge([too_long])[0].why == NO_ROOM
    assert judge.judge([Claim("Ada.", "Ada", ())])[0].why == NO_PASSAGES


def test_names_and_weights_identify_it(folder, tmp_path):
    judge = open_judge(str(folder))
    assert isinstance(judge, CausalJudge)
    other = save_raw(tmp_path / "other", raw_llama(context=600, seed=1))
    assert judge.identity != CausalJudge.open(other).identity
    assert judge.identity == CausalJudge.open(folder).identity
