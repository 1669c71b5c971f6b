"""LanguageModel: its cache against passes without one, units and limits."""

import asyncio

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lacy.errors import LacyError
from lacy.sources import LanguageModel
from lacy.testing import byte_tokenizer, scripted
from lacy.types import Request

TOKENIZER = byte_tokenizer()
CONTEXT = 64


def tiny(kind="llama", context=CONTEXT):
    torch.manual_seed(1)
    size = len(TOKENIZER)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=context,
            initializer_range=0.4, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def ask(source, *requests):
    return asyncio.run(source.ask(list(requests)))


def said(source, text, unit="token", stream=0):
    reply = ask(source, Request(text, unit, stream=stream))[0]
    return reply.candidates[0].text if reply.candidates else None


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_reused_cache_gives_the_answers_of_a_fresh_pass(kind):
    model = tiny(kind)
    source = LanguageModel(model, TOKENIZER)
    texts = ["Ada was", "Ada was b", "Ada is", "Émile", "Ada is", "Ad"]
    for number, text in enumerate(texts):
        fresh = LanguageModel(model, TOKENIZER)
        assert said(source, text, "value", number // 4) == said(fresh, text, "value")
        decoder = source._caches[number // 4]
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor(decoder.tokens_BT)).logits[0, -1]
        torch.testing.assert_close(decoder.last_BV[0], expected, atol=2e-4, rtol=1e-4)


def test_a_call_reads_only_what_is_new():
    loaded = scripted(lambda text: "!")
    source = LanguageModel(loaded.model, loaded.tokenizer)
    assert said(source, "a" * 50) == "!"
    assert source.tokens_read == 51
    assert said(source, "a" * 50 + "!bc") == "!"
    assert source.tokens_read == 51 + 3
    said(source, "a" * 50 + "!bX")  # one token differs
    assert source.tokens_read == 51 + 3 + 1
    source.forget()
    said(source, "aa")
    assert source.tokens_read == 51 + 3 + 1 + 3


def test_the_number_of_caches_is_bounded():
    loaded = scripted(lambda text: "!")
    source = LanguageModel(loaded.model, loaded.tokenizer, caches=2)
    for stream in range(5):
        said(source, "abc", stream=stream)
    assert len(source._caches) == 2


def by_script(line, **options):
    """Return a model that continues "@" with ``line``, then ends."""

    def speak(text):
        done = text[text.index("@") + 1 :]
        return line[len(done) :][:1] if line.startswith(done) else ""

    loaded = scripted(speak)
    return LanguageModel(loaded.model, loaded.tokenizer, **options)


@pytest.mark.parametrize(
    ("line", "unit", "expected"),
    [
        (" Paris in 1900", "token", " "),
        ("é", "token", "é"),
        ("👍 yes", "token", "👍"),
        (" Paris in 1900", "word", " Paris"),
        ("Paris, France", "word", "Paris"),
        (" O'Brien-Smith won", "word", " O'Brien-Smith"),
        (" 1,234 men", "word", " 1,234"),
        (", and", "word", ","),
        (" Paris", "word", " Paris"),
        (" Paris, where", "value", " Paris"),
        (" 1,234 men. He", "value", " 1,234 men"),
        (" 3.5 m. He", "value", " 3.5 m"),
        (" J. Smith. He", "value", " J. Smith"),
        (" St. Gallen.", "value", " St. Gallen"),
        (" Ulm (now", "value", " Ulm"),
        (" Ulm\nHe", "value", " Ulm"),
        (" Ulm", "value", " Ulm"),
        ("", "token", None),
        ("", "value", None),
    ],
)
def test_units(line, unit, expected):
    source = by_script(line, max_tokens=40)
    assert said(source, "He was@", unit) == expected


@pytest.mark.parametrize(
    ("text", "line", "said_of_same", "said_of_others"),
    [
        ("@", "1893 he", "1", "1893"),
        ("@", "1893", "1", "1893"),
        ("@", "1893.", "1", "1893"),
        ("@", "1,234.5 m", "1", "1,234.5"),
        ("@", "a1", "a", "a"),
        ("@", "123456789012 m", "1", None),  # longer than its limit
        ("@1", "1893 he", "8", None),  # the other model's number
        ("@1", "1 893 he", " ", " "),
        ("@1", "1, he", ",", ","),
    ],
)
def test_other_models_get_whole_numbers_or_none(text, line, said_of_same, said_of_others):
    source = by_script(line)
    for tokens, wanted in [("", said_of_same), (source._token_text.name, said_of_same),
                           ("others", said_of_others)]:  # fmt: skip
        [reply] = ask(source, Request(text, "token", tokens=tokens))
        assert [c.text for c in reply.candidates] == ([] if wanted is None else [wanted])


def test_a_limit_cuts_between_words():
    assert said(by_script(" one two three four", max_tokens=10), "@", "value") == " one two"
    assert said(by_script("abcdefghijklmnop", max_tokens=4), "@", "value") == "abcd"


def test_call_is_never_generated():
    loaded = scripted(lambda text: "a", call=lambda text: True)
    assert said(LanguageModel(loaded.model, loaded.tokenizer), "x") == "a"


def test_long_texts_are_cut_at_the_beginning_and_the_evidence_says_so():
    model = tiny()
    source = LanguageModel(model, TOKENIZER)
    reply = ask(source, Request("word " * 40, "token"))[0]
    assert "last" in reply.candidates[0].evidence and "only" in reply.candidates[0].evidence
    read = source.tokens_read
    ask(source, Request("word " * 40 + "x", "token"))
    assert source.tokens_read - read <= 3  # the window did not move with every token
    short = LanguageModel(tiny(context=8), TOKENIZER)
    assert "too short" in ask(short, Request("abc", "token"))[0].error


def test_cost_counts_generated_tokens():
    reply = ask(by_script(" Paris in", price=250_000), Request("@", "word"))[0]
    assert reply.cost == 0.25 * 7 and reply.seconds > 0


def test_a_failed_pass_leaves_no_partial_cache():
    fails = []

    def speak(text):
        return 1 / 0 if fails else "!"

    loaded = scripted(speak)
    source = LanguageModel(loaded.model, loaded.tokenizer)
    said(source, "abc")
    fails.append("now")
    with pytest.raises(ZeroDivisionError):
        said(source, "abcd")
    assert not source._caches
    fails.clear()
    assert said(source, "abcd") == "!"


def test_from_a_folder_or_an_error(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path / "partner")
    TOKENIZER.save_pretrained(tmp_path / "partner")
    source = LanguageModel(tmp_path / "partner")
    assert source.name == "partner"
    assert said(source, "Ada was") == said(LanguageModel(model, TOKENIZER), "Ada was")
    with pytest.raises(LacyError, match="E69"):
        LanguageModel(tmp_path)
    with pytest.raises(TypeError, match="tokenizer"):
        LanguageModel(model)
