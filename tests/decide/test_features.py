"""Features of options: fast ones equal slow ones, and no option sees another one."""

import math
import random
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import models
from helpers.encoders import write_bert
from lacy.decide import (
    LikelihoodFeatures,
    StateFeatures,
    VectorFeatures,
    choice,
    open_decider,
    score,
    yes_no,
)
from lacy.errors import LacyError

torch.set_num_threads(1)

QUESTIONS = [
    choice("Where was she born?", ["Ulm", "Paris", "São Paulo", "in the University of Zürich"]),
    yes_no("Is she an engineer?"),
    yes_no("Is she a physicist?", yes="she studied physics", no="she studied something else"),
    score("How old is she?", ["young", "old", "very old"]),
    choice("What fits?", {"Ulm": "a city in Germany", "Paris": None}),
]
STATE = "Mara Vell was born in Ulm on 12 March 1879."


def kinds(name):
    loaded = models.REAL[name]
    model, tokenizer = loaded.model, loaded.tokenizer
    return {
        "likelihood": LikelihoodFeatures(model, tokenizer, len(tokenizer) - 1),
        "states": StateFeatures(model, tokenizer),
        "layer 1": StateFeatures(model, tokenizer, 1),
    }


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_bert(folder)
    return VectorFeatures.open(str(folder))


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def paths(tokenizer, state, question):
    """Return the ids before the options, and those of each option, encoded piece by piece."""
    before = [tokenizer.bos_token_id]
    before += ids_of(tokenizer, state + "\n\n") if state else []
    anchor = "x"
    prompt = ids_of(tokenizer, f"{anchor}Question: {question.instructions}\nAnswer:")[1:]
    options = [ids_of(tokenizer, f"{anchor} {question.text_of(one)}")[1:]
               for one in question.options]  # fmt: skip
    return before + prompt, options


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.type)
def test_likelihoods_equal_those_of_whole_texts(question):
    """Each option alone, in one pass over state, question and option."""
    loaded = models.REAL["llama"]
    model, tokenizer, call = loaded.model, loaded.tokenizer, len(loaded.tokenizer) - 1

    def logps(state):
        before, options = paths(tokenizer, state, question)
        found = []
        for option in options:
            with torch.no_grad():
                logits_TV = model(torch.tensor([[*before, *option]])).logits[0]
            logits_TV[:, call] = -math.inf
            logp_TV = torch.log_softmax(logits_TV, -1)
            found.append(sum(float(logp_TV[len(before) + n - 1, token])
                             for n, token in enumerate(option)))  # fmt: skip
        return np.array(found), np.array([len(option) for option in options])

    (found, length), (reference, _) = logps(STATE), logps("")
    [features] = kinds("llama")["likelihood"].features(STATE, [question])
    expected = np.stack([(found - reference) / length, found - reference], 1)
    assert np.allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize("layer", [None, 1, 2])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_states_equal_those_of_whole_texts(name, layer):
    loaded = models.REAL[name]
    model, tokenizer = loaded.model, loaded.tokenizer
    features = StateFeatures(model, tokenizer, layer)
    slow = StateFeatures(model, tokenizer, layer)
    slow._trees = False
    fast = features.features(STATE, QUESTIONS)
    for one, other in zip(fast, slow.features(STATE, QUESTIONS), strict=True):
        assert np.allclose(one, other, atol=1e-4)
    # The reference of the slow one: transformers' own states after that layer and the last norm.
    if name == "llama":
        before, options = paths(tokenizer, STATE, QUESTIONS[0])
        with torch.no_grad():
            found = model.model(torch.tensor([[*before, *options[1]]]), output_hidden_states=True)
            states = found.hidden_states[1] if layer == 1 else None
            last = model.model.norm(states) if layer == 1 else found.last_hidden_state
        bare, _ = paths(tokenizer, "", QUESTIONS[0])
        with torch.no_grad():
            found = model.model(torch.tensor([[*bare, *options[1]]]), output_hidden_states=True)
            alone = found.last_hidden_state
            alone = model.model.norm(found.hidden_states[1]) if layer == 1 else alone
        expected = (last[0, -1] - alone[0, -1]).numpy()
        assert np.allclose(fast[0][1], expected, atol=1e-4)


def test_questions_do_not_change_one_another():
    features = kinds("llama")
    for one in features.values():
        together = one.features(STATE, QUESTIONS)
        alone = [one.features(STATE, [question])[0] for question in QUESTIONS]
        for first, second in zip(together, alone, strict=True):
            assert np.allclose(first, second, atol=1e-4)


def test_many_questions_take_several_passes(monkeypatch):
    monkeypatch.setattr("lacy.decide.states.TREE_TOKENS", 40)
    loaded = models.REAL["llama"]
    features = StateFeatures(loaded.model, loaded.tokenizer)
    monkeypatch.setattr("lacy.decide.states.TREE_TOKENS", 4000)
    whole = StateFeatures(loaded.model, loaded.tokenizer)
    expected = whole.features(STATE, QUESTIONS)
    monkeypatch.setattr("lacy.decide.states.TREE_TOKENS", 40)
    for one, other in zip(features.features(STATE, QUESTIONS), expected, strict=True):
        assert np.allclose(one, other, atol=1e-4)


@cache
def shuffled_deciders():
    loaded = models.REAL["llama"]
    return open_decider(loaded.model, loaded.tokenizer)


LABELS = st.lists(st.text("abc déř", min_size=1, max_size=6).filter(str.strip), min_size=2,
                  max_size=6, unique=True)  # fmt: skip


@settings(max_examples=30)
@given(labels=LABELS, seed=st.integers(0, 99), state=st.text("abcd. ", max_size=30))
def test_shuffled_options_give_exactly_the_same_answer(labels, seed, state):
    decider = shuffled_deciders()
    options = list(labels)
    random.Random(seed).shuffle(options)
    [first] = decider.decide(state, [choice("Which?", labels)])
    [second] = decider.decide(state, [choice("Which?", options)])
    assert first.likeliest == second.likeliest
    names = [one.name for one in second.question.options]
    for one, p in zip(first.question.options, first.probabilities, strict=True):
        assert second.probabilities[names.index(one.name)] == p


@pytest.mark.parametrize("kind", ["states", "layer 1", "vectors"])
def test_features_of_shuffled_options_are_exactly_the_same(kind, encoder):
    features = encoder if kind == "vectors" else kinds("gpt2")[kind]
    labels = ["a cat", "the dog", "on mat", "walk", "how to run"]
    shuffled = ["walk", "how to run", "a cat", "on mat", "the dog"]
    [first] = features.features("the cat sat on the mat", [choice("Which?", labels)])
    [second] = features.features("the cat sat on the mat", [choice("Which?", shuffled)])
    assert np.array_equal(first, second[[shuffled.index(label) for label in labels]])


def test_a_state_without_text_has_no_gain():
    [likelihood] = kinds("llama")["likelihood"].features("  ", [QUESTIONS[0]])
    [states] = kinds("llama")["states"].features("", [QUESTIONS[0]])
    assert np.allclose(likelihood, 0, atol=1e-5) and np.allclose(states, 0, atol=1e-5)


def test_nothing_is_truncated():
    loaded = models.REAL["llama"]  # a context of 128 tokens
    for features in kinds("llama").values():
        assert features.tokens(STATE, QUESTIONS[:1]) < 128
        with pytest.raises(LacyError) as caught:
            features.features("Mara " * 200, QUESTIONS[:1])
        assert caught.value.code == "E382"
    long = "Paris 1879 " * 60
    with pytest.raises(LacyError, match="E382"):
        StateFeatures(loaded.model, loaded.tokenizer).features(STATE, [yes_no(long)])


def test_a_long_state_is_read_in_windows(encoder):
    question = choice("Which?", ["a cat", "a dog"])
    [one] = encoder.features("the cat sat , " * 5, [question])
    [long] = encoder.features("the cat sat , " * 5 + "how to run and walk . " * 20, [question])
    assert not np.allclose(one, long)  # the end counts, too
    assert encoder.tokens("the cat sat", [question]) == 7


def test_a_no_without_description_has_no_features(encoder):
    [features] = encoder.features("the cat", [yes_no("a cat")])
    assert features[0].any() and not features[1].any()
    [features] = encoder.features("the cat", [yes_no("a cat", no="a dog")])
    assert features[1].any()


def test_layers_that_do_not_exist():
    loaded = models.REAL["llama"]
    for layer in (0, 3):
        with pytest.raises(LacyError, match="E12"):
            StateFeatures(loaded.model, loaded.tokenizer, layer)
