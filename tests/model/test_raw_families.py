"""Architectures that users bring, raw: each writes what ``transformers`` writes, token by token."""

import families
import pytest
import torch

from helpers.raw import END, raw_tokenizer, save_raw
from lacy.cascade import Engine
from lacy.model import decodes_from_cache, head_inputs, load_model, new_decoder, set_call_row

USUAL = [
    "llama", "mistral", "qwen2", "qwen3", "qwen3_5_text", "gemma2", "gemma3_text", "phi", "gpt2",
    "opt", "mamba",
]  # fmt: skip
OTHERS = ["phi3", "bloom", "cohere", "gpt_neox", "granite", "olmo2", "smollm3"]
KINDS = [*USUAL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
RECOMPUTED = {"qwen3_5_text", "mamba"}
PROMPTS = ["Ada Lovelace", "Paul was born in", "K"]


@pytest.fixture(params=KINDS)
def raw(request, tmp_path):
    """The kind of a model, the model itself, and the model as loaded by lacy."""
    plain = families.tiny(request.param, 257 + 3).eval()  # with three rows of padding
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        head = plain.get_output_embeddings()
        head.weight[257:] = 0
        if getattr(head, "bias", None) is not None:
            head.bias[257:] = -50
    return request.param, plain, load_model(save_raw(tmp_path / "raw", plain))


def test_greedy_texts_and_likelihoods_are_the_models_own(raw):
    kind, plain, loaded = raw
    assert not loaded.calls
    assert decodes_from_cache(loaded.model) == (kind not in RECOMPUTED)
    answers = Engine(loaded, policy="never", max_new_tokens=12).generate(PROMPTS)
    tokenizer = raw_tokenizer()
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = [tokenizer.convert_tokens_to_ids(END), *tokenizer(prompt).input_ids]
        with torch.no_grad():
            wanted = plain.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=12,
                do_sample=False, pad_token_id=0,
            )  # fmt: skip
        assert answer.text == tokenizer.decode(wanted[0], skip_special_tokens=True)

    rows = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    candidates = [[5, 6, 7], [5, 9], [30]]
    decoder = new_decoder(loaded.model, call_id=loaded.call_id)
    decoder.read(rows)
    scores = decoder.score([2, 0], [candidates, candidates[:1]])
    for row, group, found in zip((2, 0), (candidates, candidates[:1]), scores, strict=True):
        for candidate, score in zip(group, found, strict=True):
            assert score == pytest.approx(likelihood(plain, rows[row], candidate), abs=2e-3)


def likelihood(plain, before, tokens):
    with torch.no_grad():
        logits = plain(torch.tensor([before + tokens]), use_cache=False).logits[0, :, :257]
    logp = torch.log_softmax(logits.float(), -1)
    return sum(float(logp[len(before) + n - 1, token]) for n, token in enumerate(tokens))


def test_words_after_reading_are_those_of_the_model_given_the_sentences(raw):
    _, plain, loaded = raw
    engine = Engine(loaded, policy="never")
    texts = [engine.sequence(n, prompt, None, 20) for n, prompt in enumerate(PROMPTS)]
    for text in texts:
        text.read("Ada Lovelace was born in London.")
    for _ in range(2):
        found_RV = engine.reader.next_logits(texts)
        for text, found_V in zip(texts, found_RV, strict=True):
            ids = engine.reader._ids(text, text.sentences, 1)
            with torch.no_grad():
                expected_V = plain(torch.tensor([ids]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(found_V[:257], expected_V[:257], atol=2e-3, rtol=1e-3)
            text.ids.append(70)


def test_a_call_row_gives_the_logit_that_was_fitted(raw):
    kind, _, loaded = raw
    model = loaded.model
    with torch.no_grad():
        row = torch.randn(model.get_output_embeddings().weight.shape[1])
        set_call_row(model, row)
        hidden, logits = head_inputs(model, torch.arange(2, 40).view(1, -1))
    fitted, found = hidden[0] @ row, logits[0, :, loaded.call_id]
    if kind == "gemma2":
        cap = model.config.final_logit_softcapping
        fitted = cap * torch.tanh(fitted / cap)
    torch.testing.assert_close(found, fitted, rtol=0.02, atol=1e-3)
    assert bool((found.sign() == fitted.sign()).all())
