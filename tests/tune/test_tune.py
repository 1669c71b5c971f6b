"""A tuning from end to end, on a raw model of random weights."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.articles import article
from helpers.raw import raw_llama, save_raw
from lacy.cascade import Engine
from lacy.corpus import write_documents
from lacy.errors import LacyError
from lacy.model import FINGERPRINT, gate_of, load_model, model_fingerprint, save_model
from lacy.testing import ScriptedSource
from lacy.tune import tune
from lacy.types import Document


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_the_text_distribution_stays_identical_to_the_bit(tied, articles, tmp_path):
    save_raw(tmp_path / "raw", raw_llama(tied=tied, padding=7))
    raw = load_model(tmp_path / "raw")
    ids_BT = torch.tensor([raw.tokenizer.encode(articles[0].text)])
    with torch.inference_mode():
        before_BTV = raw.model.eval()(input_ids=ids_BT).logits
    tune(tmp_path / "raw", articles, out=tmp_path / "tuned")
    tuned = load_model(tmp_path / "tuned")
    with torch.inference_mode():
        after_BTV = tuned.model.eval()(input_ids=ids_BT).logits
    assert torch.equal(before_BTV[..., :-1], after_BTV[..., :-1])
    assert not torch.equal(before_BTV[..., -1], after_BTV[..., -1])


def test_only_the_call_row_changes(raw_folder, tuned):
    before, after = weights(load_model(raw_folder).model), weights(load_model(tuned.path).model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        other = after[name]
        if "embed_tokens" in name or "lm_head" in name:
            assert not torch.equal(value[-1], other[-1])
            value, other = value[:-1], other[:-1]
        assert torch.equal(value, other), name


def test_the_folder_opens_in_plain_transformers_and_has_the_row(tuned):
    model = AutoModelForCausalLM.from_pretrained(tuned.path)
    assert model.config.lacy_gate == "sigmoid"
    row_D = model.get_output_embeddings().weight[-1].detach().numpy()
    np.testing.assert_allclose(row_D, tuned.row_D, rtol=1e-5)


def test_lacy_json_says_how_it_was_tuned(tuned):
    loaded = load_model(tuned.path)
    assert gate_of(loaded.model) == "sigmoid"
    assert loaded.calls
    assert loaded.meta[FINGERPRINT] == model_fingerprint(loaded.model)
    meta = loaded.meta["tune"]
    assert (meta["depth"], meta["target"], meta["articles"]) == ("row", "where", 24)
    assert meta["annotator"] == "given"
    assert meta["figures"]["starts"] == 24 * 4
    full = json.loads((tuned.path / "tune.json").read_text())
    assert full["environment"]["lacy"] and full["seconds"]["Fit"] >= 0


def test_the_gate_beats_entropy_and_the_card_says_so(tuned):
    figures = tuned.figures
    assert set(figures.target) == {"gate", "last word", "last two words", "entropy"}
    gate, entropy = figures.target["gate"].auroc, figures.target["entropy"].auroc
    assert gate.value > entropy.value + 0.1
    assert gate.low < gate.value < gate.high
    assert figures.kinds["DATE"].keys() == figures.target.keys()
    card = (tuned.path / "README.md").read_text()
    assert f"{gate.value:.3f}" in card and "last two words" in card


def test_an_engine_calls_with_it(tuned):
    engine = Engine(load_model(tuned.path), ScriptedSource({}), "threshold=-20", max_new_tokens=4)
    [answer] = engine.generate(["Person Aell1 was born in "])
    assert answer.calls > 0


def test_a_second_run_uses_the_stored_states_and_gives_the_same_row(raw_folder, articles, tmp_path):
    first = tune(raw_folder, articles, out=tmp_path / "a", states=tmp_path / "states")
    stored = sorted((tmp_path / "states").glob("*.safetensors"))
    assert len(stored) == len(articles)
    for path in stored[::2]:  # as if the first run had been interrupted
        path.unlink()
    told = []
    second = tune(
        raw_folder, articles, out=tmp_path / "b", states=tmp_path / "states", notify=told.append
    )
    assert any("12 articles were in" in sentence for sentence in told)
    np.testing.assert_array_equal(first.row_D, second.row_D)


def test_changed_weights_refuse_the_row(tuned, tmp_path):
    loaded = load_model(tuned.path)
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.up_proj.weight.add_(1e-3)
    save_model(tmp_path / "changed", loaded.model, loaded.tokenizer, loaded.meta)
    with pytest.raises(LacyError) as caught:
        load_model(tmp_path / "changed")
    assert caught.value.code == "E155"
    again = tune(tmp_path / "changed", [article(n) for n in range(24)], out=tmp_path / "again")
    assert any("tuned before" in note for note in again.notes)
    assert load_model(tmp_path / "again").calls


def test_too_few_articles(raw_folder, articles, tmp_path):
    with pytest.raises(LacyError) as caught:
        tune(raw_folder, articles[:4], out=tmp_path / "few")
    assert caught.value.code == "E162"
    told = []
    tune(raw_folder, articles[:12], out=tmp_path / "some", notify=told.append)
    assert any("Only 12 articles" in sentence for sentence in told)


def test_articles_without_values(raw_folder, tmp_path):
    documents = [Document(str(n), f"the cat sat on the mat and then it left {n}") for n in range(9)]
    given = [*documents[1:], article(1)]
    with pytest.raises(LacyError) as caught:
        tune(raw_folder, [article(1)] * 1 + given[:-1], out=tmp_path / "none")
    assert caught.value.code == "E164"


def test_articles_in_another_language(raw_folder, tmp_path):
    german = "Der Dichter wurde in der Stadt geboren und lebte mit seiner Familie auf dem Land, "
    german += "wo er auch nach dem Krieg noch viele Jahre an seinen Werken schrieb."
    documents = [Document(str(n), f"{german} {n}") for n in range(24)]
    with pytest.raises(LacyError) as caught:
        tune(raw_folder, documents, out=tmp_path / "german")
    assert caught.value.code == "E163"


def test_packed_data_are_read(raw_folder, articles, tmp_path):
    from lacy.cli import main

    write_documents(articles, tmp_path / "articles.jsonl")
    argv = ["data", "mark", tmp_path / "articles.jsonl", "--annotator", "gold"]
    argv += ["--tokenizer", raw_folder, "--context", "128", "--out", tmp_path / "packed"]
    assert main([str(word) for word in argv]) == 0
    packed = tune(raw_folder, tmp_path / "packed", out=tmp_path / "a")
    plain = tune(raw_folder, articles, out=tmp_path / "b")
    assert packed.figures.starts == plain.figures.starts
    assert packed.figures.tokens == plain.figures.tokens
