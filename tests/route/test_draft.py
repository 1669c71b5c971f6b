"""Signals of a draft, in batches and one by one, and where they are kept."""

from dataclasses import astuple

import numpy as np
import pytest
import torch

from helpers.routing import outcome_cases
from lacy.model import build_model, load_model, save_model
from lacy.route import DraftStore, RouterSettings, draft_signals, fit_router, open_router
from lacy.testing import byte_tokenizer

TEXTS = ["Which robin sings?", "3 + 4", "Steer the sail by the mast and the keel."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=256, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # so that predictions differ
    found = tmp_path_factory.mktemp("draft") / "tiny"
    save_model(found, model, tokenizer, {"training": {"settings": {"method": "lacy"}}})
    return str(found)


def plainly(loaded, text, tokens):
    """Return the same signals one token at a time, without a cache; the slow reference."""
    ids = loaded.tokenizer.encode(text + "\n")  # begins with the begin token
    steps = []
    for _ in range(tokens):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids])).logits[0, -1]
        own = logits[: loaded.call_id]
        logp = torch.log_softmax(own, -1)
        best = own.topk(2).values
        steps.append((float(logits[loaded.call_id] - own.max()), float(logp.max()),
                      float(-(logp.exp() * logp).sum()), float(best[0] - best[1])))  # fmt: skip
        token = int(own.argmax())
        if token in (loaded.tokenizer.eos_token_id, loaded.tokenizer.bos_token_id):
            break
        ids.append(token)
    return np.array(steps)


def test_batches_give_the_numbers_of_single_drafts(folder):
    loaded = load_model(folder)
    together = draft_signals(loaded, TEXTS, tokens=6, batch=3)
    for text, found in zip(TEXTS, together, strict=True):
        alone = draft_signals(loaded, [text], tokens=6)[0]
        assert np.allclose(astuple(found), astuple(alone), atol=1e-3)
        steps = plainly(loaded, text, 6)
        assert found.length == len(steps) / 6
        assert found.p_least == pytest.approx(float(np.exp(steps[:, 1].min())), abs=1e-3)
        assert found.entropy == pytest.approx(float(steps[:, 2].mean()), abs=1e-2)
        assert found.lead == pytest.approx(float(steps[:, 3].mean()), abs=1e-2)


def test_kept_signals_are_not_computed_again(folder, tmp_path):
    settings = RouterSettings(head="length", draft=folder)
    path = tmp_path / "drafts.jsonl"
    cases = outcome_cases(18)
    first = fit_router(cases, settings, drafts=path)
    lines = path.read_text().splitlines()
    assert 0 < len(lines) <= 18 and "sparrow" not in path.read_text()
    # A killed run leaves some lines, and half of one.
    path.write_text("\n".join(lines[:10]) + "\n" + lines[10][:20])
    again = fit_router(cases, settings, drafts=path)
    texts = [case.text for case in cases[:5]]
    assert np.allclose(again.scores(texts), first.scores(texts), atol=1e-3)
    assert DraftStore(path).get("no model", "no text") is None
    first.save(tmp_path / "r")
    assert np.allclose(open_router(tmp_path / "r").scores(texts), first.scores(texts))
