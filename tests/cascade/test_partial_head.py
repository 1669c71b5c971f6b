"""The cascade with a head that computes few tokens: same texts, same candidates, any policy."""

import pytest
import torch

from helpers.models import ALL, SCRATCH, TEXTS, gpt2, llama
from lacy.cascade import Engine
from lacy.model import Decoder, Loaded, RecomputingDecoder, set_gate
from lacy.sources import ScriptedSource
from lacy.vocabulary import tailor, task_vocabulary

TOKENIZER = ALL["byte_level"]
SMALL = task_vocabulary(TOKENIZER, [("", "Ulm and")], tolerance=0)
VALUES = ["Zürich", "the University of Zürich", "Copley Medal", "1921", "東京"]
PROMPTS = ["Mara Vell was born in", "Tomas Brill, an", "He"]


def loaded_of(make=llama, meta=SCRATCH, seed=0):
    return Loaded(make(TOKENIZER, seed=seed).model, TOKENIZER, dict(meta))


def answers(loaded, policy="random=0.3", **more):
    source = ScriptedSource([VALUES])
    engine = Engine(loaded, source, policy, max_new_tokens=16, abstain=None, **more)
    return [(a.continuation, [s.speaker for s in a.spans]) for a in engine.generate(PROMPTS)]


@pytest.mark.parametrize("mode", ["static", "dynamic", "hybrid"])
@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("meta", [SCRATCH, {}])
def test_texts_and_borrowed_values_are_those_of_the_whole_head(mode, make, meta):
    loaded = loaded_of(make, meta)
    wanted = answers(loaded)
    assert any("script" in speakers for _, speakers in wanted)
    tailored = tailor(loaded, SMALL if mode != "dynamic" else None, mode)
    assert answers(loaded) == wanted
    assert tailored.use.steps > 0
    if mode != "static":
        read = {n for value in VALUES for n in TOKENIZER.encode(" " + value)}
        assert read & {int(n) for n in tailored.head.active.ids}


@pytest.mark.parametrize("policy", ["threshold=-1", "entropy=2", "top2=0.3", "budget=0.3"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_every_signal_decides_as_before(policy, gate):
    loaded = loaded_of()
    set_gate(loaded.model, gate)
    wanted = answers(loaded, policy)
    tailor(loaded, SMALL)
    assert answers(loaded, policy) == wanted


def test_a_gate_is_exact_whatever_is_left_out():
    loaded = loaded_of()
    ids = torch.tensor([TOKENIZER.encode(TEXTS[0])[:9]])
    with torch.no_grad():
        wanted = loaded.model(ids).logits[0, -1, -1]
        tailor(loaded, SMALL, "static", fallback="off")
        found = loaded.model(ids, logits_to_keep=1).logits[0, -1, -1]
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [Decoder, RecomputingDecoder])
@pytest.mark.parametrize("fallback", ["off", "exact", 0.5])
def test_candidates_are_scored_by_all_tokens(kind, fallback):
    """Also those that begin with a token that is left out, and after rows were moved."""
    loaded = loaded_of()
    texts = [TOKENIZER.encode(text)[:7] for text in TEXTS[:3]]
    candidates = [[TOKENIZER.encode(" " + value) for value in VALUES]] * 3

    def scores(model):
        decoder = kind(model, call_id=len(TOKENIZER) - 1)
        decoder.feed([row[:5] for row in texts])
        decoder.feed([row[5:] for row in texts])
        other = decoder.part([2, 0])
        decoder.keep([1])
        decoder.join([other])
        order = [[1], [2], [0]]
        firsts = decoder.first_logps([0, 1, 2], candidates)
        return order, firsts, decoder.score([0, 1, 2], candidates, whole=True)

    wanted = scores(loaded.model)
    tailor(loaded, SMALL, "static", fallback=fallback)
    found = scores(loaded.model)
    for mine, theirs in zip(found[1:], wanted[1:], strict=True):
        for row, other in zip(mine, theirs, strict=True):
            assert row == pytest.approx(other, abs=1e-4)


def test_tokens_of_a_text_are_scored_by_all_tokens():
    loaded = loaded_of()

    def scored():
        decoder = Decoder(loaded.model)
        every = decoder.feed_all([TOKENIZER.encode(TEXTS[0])[:1]])
        return every[0, -1], decoder.whole_BV([0])[0]

    wanted = scored()
    tailor(loaded, SMALL, "static", fallback="off")
    for mine, theirs in zip(scored(), wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_tokens_of_ended_texts_are_forgotten():
    loaded = loaded_of()
    tailored = tailor(loaded)
    engine = Engine(loaded, max_new_tokens=2)
    engine.generate([TEXTS[0][:60]])
    first = len(tailored.head.active)
    engine.generate(["He"])
    assert len(tailored.head.active) < first
    assert any(n in tailored.head.active for n in TOKENIZER.encode("He"))
