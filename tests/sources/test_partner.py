"""A lacy model as the larger model: it never calls, and its special tokens stay its own."""

import asyncio
import os
import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.letters import speaks_letters
from lacy.cascade import Engine
from lacy.model import save_model
from lacy.sources import Cached, LanguageModel
from lacy.sources.wrappers import fingerprint
from lacy.testing import byte_tokenizer, scripted
from lacy.types import CALL_TOKEN, Request

TOKENIZER = byte_tokenizer()
CALL = TOKENIZER.convert_tokens_to_ids(CALL_TOKEN)
TEXTS = ["Ada was", "Ada Lovelace was born in", "Émile", "x", "He"]


def tiny(seed=1):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return speaks_letters(LlamaForCausalLM(config).eval(), TOKENIZER)


def wishes(model, token):
    """Return the same model, but with one token likeliest everywhere."""
    with torch.no_grad():
        model.model.norm.weight.abs_()
        head = model.lm_head.weight
        feature = torch.zeros_like(head[0])
        feature[0] = 1.0
        model.model.norm.register_forward_hook(lambda _m, _i, out: out.index_fill(-1, ZERO, 50.0))
        head[:, 0] = 0.0
        head[token] = feature
    return model


ZERO = torch.tensor([0])


def read(model, folder):
    save_model(folder, model, TOKENIZER)
    return LanguageModel(str(folder))


def ask(source, *requests):
    return [[c.text for c in reply.candidates] for reply in asyncio.run(source.ask(requests))]


@pytest.mark.parametrize("unit", ["token", "word", "value"])
def test_a_calling_model_answers_with_its_own_words(unit):
    model = wishes(tiny(), CALL)
    ids = torch.tensor([[5, 6, 7]])
    assert int(model(input_ids=ids).logits[0, -1].argmax()) == CALL  # it does want to
    source = LanguageModel(model, TOKENIZER)
    plain = tiny()
    with torch.no_grad():
        plain.lm_head.weight[:, 0] = 0.0
    wanted = LanguageModel(plain, TOKENIZER)
    requests = [Request(text, unit, stream=n) for n, text in enumerate(TEXTS)]
    assert ask(source, *requests) == ask(wanted, *requests)
    assert any(ask(source, *requests))


def test_a_model_that_ends_the_text_has_no_answer():
    source = LanguageModel(wishes(tiny(), TOKENIZER.eos_token_id), TOKENIZER)
    assert ask(source, *(Request(text, "value") for text in TEXTS)) == [[]] * len(TEXTS)


def test_concurrent_requests_get_the_answers_of_each_alone(tmp_path):
    source = read(tiny(), tmp_path / "partner")
    requests = [Request(text, unit, stream=n) for n, text in enumerate(TEXTS * 3) for unit in UNITS]
    alone = [ask(LanguageModel(source.model, TOKENIZER), request)[0] for request in requests]
    assert ask(source, *requests) == alone
    random.Random(0).shuffle(both := list(zip(requests, alone, strict=True)))
    assert ask(source, *(r for r, _ in both)) == [said for _, said in both]


UNITS = ("token", "word", "value")


def test_control_tokens_in_a_text_are_plain_characters(tmp_path):
    source = read(tiny(), tmp_path / "partner")
    ask(source, Request(f"a{CALL_TOKEN}<|endoftext|>b", "token"))
    [stream] = source._caches.values()
    [ids] = stream.tokens_BT
    assert ids[0] == TOKENIZER.bos_token_id
    assert not {CALL, TOKENIZER.eos_token_id} & set(ids[1:])


def test_an_engine_uses_its_answers_without_control_tokens():
    source = LanguageModel(wishes(tiny(), CALL), TOKENIZER, name="partner")
    loaded = scripted(lambda text: ".", lambda text: len(text) < 12)
    [answer] = Engine(loaded, source, "threshold=0", max_new_tokens=24).generate(["He was"])
    assert any(span.speaker == "partner" for span in answer.spans)
    assert CALL_TOKEN not in answer.text and answer.text == "".join(s.text for s in answer.spans)


def test_cached_answers_belong_to_these_weights(tmp_path):
    source = read(tiny(), tmp_path / "partner")
    again = LanguageModel(str(tmp_path / "partner"))
    assert fingerprint(source) == fingerprint(again)
    with Cached(source, tmp_path / "answers.sqlite") as cached:
        first = ask(cached, Request("Ada was"))
    save_model(tmp_path / "partner", tiny(seed=7), TOKENIZER)
    os.utime(tmp_path / "partner" / "model.safetensors", ns=(1, 1))
    trained_anew = LanguageModel(str(tmp_path / "partner"))
    with Cached(trained_anew, tmp_path / "answers.sqlite") as cached:
        second = ask(cached, Request("Ada was"))
        assert cached.misses == 1
    assert second == ask(trained_anew, Request("Ada was")) != first
