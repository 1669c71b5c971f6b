"""A tokenizer is loaded as in its tokenizer.json, whatever its folder and the files beside it."""

import io
import json
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lacy.corpus import load_tokenizer, tokenizer_fingerprint, train_tokenizer
from lacy.corpus.special_tokens import save_tokenizer
from lacy.corpus.tokenizer import encode_texts
from lacy.errors import LacyError

TEXTS = ["Ada Lovelace was born on 10 December 1815 in London, and didn't like it."] * 20
PROBE = "Ada's café,  12 Москва <|reserved|> <|unused_301|>"


@lru_cache(maxsize=1)
def foreign():
    """A tokenizer not made by lacy, with ids 0 to 299."""
    state = json.loads(train_tokenizer(TEXTS, 301).backend_tokenizer.to_str())
    state["added_tokens"].pop()
    end = "<|endoftext|>"
    backend = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end)


@pytest.fixture
def theirs(tmp_path):
    """Its folder."""
    foreign().save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def ids_of(tokenizer):
    return next(encode_texts(tokenizer, [PROBE])).ids


@pytest.mark.parametrize("kind", ["llama", "qwen2", "phi3", "mistral", "gemma", "gpt2", "bloom"])
@pytest.mark.parametrize("named", ["TokenizersBackend", "LlamaTokenizer", "Qwen2TokenizerFast"])
def test_the_model_beside_it_changes_nothing(theirs, tmp_path, kind, named):
    before = load_tokenizer(theirs)
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = named
    (theirs / "tokenizer_config.json").write_text(json.dumps(config))
    (theirs / "config.json").write_text(json.dumps({"model_type": kind}))
    after = load_tokenizer(theirs)
    assert tokenizer_fingerprint(after) == tokenizer_fingerprint(before)
    assert ids_of(after) == ids_of(before)


def with_tokens(folder, *tokens, vocabulary=True):
    """Adds special tokens at these ids to a tokenizer's file."""
    state = json.loads((folder / "tokenizer.json").read_text())
    for number, content in tokens:
        state["added_tokens"].append(
            {"id": number, "content": content, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
        )  # fmt: skip
        if vocabulary:
            state["model"]["vocab"][content] = number
    (folder / "tokenizer.json").write_text(json.dumps(state))


@pytest.mark.parametrize("vocabulary", [True, False], ids=["in-vocabulary", "beyond-it"])
@pytest.mark.parametrize(
    "tokens",
    [
        [(310, "<|reserved|>")],
        [(300, "<|a|>"), (302, "<|b|>"), (1023, "<|reserved|>")],
        [(305, "<|unused_301|>")],
        [(300, "<|reserved|>")],
    ],
    ids=["one", "several", "named-like-ours", "no-gap"],
)
def test_gaps_are_filled_and_ids_stay(theirs, tmp_path, tokens, vocabulary):
    before = ids_of(load_tokenizer(theirs))
    with_tokens(theirs, *tokens, vocabulary=vocabulary)
    tokenizer = load_tokenizer(theirs)
    assert all(tokenizer.convert_tokens_to_ids(token) == number for number, token in tokens)
    last = max(number for number, _ in tokens)
    assert len(tokenizer) == last + 2 and tokenizer.convert_tokens_to_ids("<CALL>") == last + 1
    assert sorted(tokenizer.get_vocab().values()) == list(range(last + 2))
    assert ids_of(tokenizer) == before  # no text becomes a token that fills a gap
    save_tokenizer(tokenizer, tmp_path / "ours")
    assert tokenizer_fingerprint(load_tokenizer(tmp_path / "ours")) == tokenizer_fingerprint(
        tokenizer
    )
    plain = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert plain.get_vocab() == tokenizer.get_vocab()


@settings(max_examples=25, deadline=None)
@given(
    ids=st.sets(st.integers(300, 360), min_size=1, max_size=6),
    inside=st.booleans(),
    named=st.sampled_from(["<|r{}|>", "<|unused_{}|>", "<|unused_3{}|>"]),
)
def test_any_set_of_token_ids_is_preserved(ids, inside, named):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        foreign().save_pretrained(folder)
        tokens = [(number, named.format(number)) for number in ids]
        with_tokens(folder, *tokens, vocabulary=inside)
        tokenizer = load_tokenizer(folder)
        assert tokenizer.convert_tokens_to_ids([t for _, t in tokens]) == [n for n, _ in tokens]
        assert sorted(tokenizer.get_vocab().values()) == list(range(max(ids) + 2))
        save_tokenizer(tokenizer, folder)
        assert load_tokenizer(folder).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("last", [500_000, 2**31])
def test_too_many_missing_ids_are_an_error(theirs, last):
    with_tokens(theirs, (last, "<|far|>"))
    with pytest.raises(LacyError, match="missing") as caught:
        load_tokenizer(theirs)
    assert caught.value.code == "E24" and "<CALL>" not in str(caught.value)


def test_id_gaps_that_cannot_be_filled_are_an_error(tmp_path):
    pieces = [("<s>", 0.0), ("▁a", -1.0), ("a", -2.0)]
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(pieces, 0)), bos_token="<s>", eos_token="<s>"
    )
    wrapped.save_pretrained(tmp_path)
    with_tokens(tmp_path, (9, "<|far|>"), vocabulary=False)
    with pytest.raises(LacyError, match="missing for ids below") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "E24"


def test_code_beside_a_tokenizer_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "tokenizer_x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    settings = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["tokenizer_x.X", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(LacyError, match="own code") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "E132" and not (tmp_path / "ran").exists()


def test_code_beside_a_whole_tokenizer_is_not_needed(theirs, monkeypatch):
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["tokenizer_x.X", None]}
    (theirs / "tokenizer_config.json").write_text(json.dumps(config))
    (theirs / "tokenizer_x.py").write_text(f"open({str(theirs / 'ran')!r}, 'w')")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    tokenizer = load_tokenizer(theirs)
    save_tokenizer(tokenizer, theirs)
    assert "auto_map" not in (theirs / "tokenizer_config.json").read_text()
    assert not (theirs / "ran").exists()


def test_bpe_dropout_is_disabled(theirs, tmp_path):
    """With BPE-dropout a text would become other tokens each time, in training and afterwards."""
    plain = load_tokenizer(theirs)
    file = theirs / "tokenizer.json"
    state = json.loads(file.read_text())
    state["model"]["dropout"] = 0.5
    file.write_text(json.dumps(state))
    chancy = load_tokenizer(theirs)
    assert tokenizer_fingerprint(chancy) == tokenizer_fingerprint(plain)
    assert all(ids_of(chancy) == ids_of(plain) for _ in range(5))
    save_tokenizer(chancy, tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert all(ids_of(saved) == ids_of(plain) for _ in range(5))


def test_a_tokenizer_without_tokenizer_json_gets_advice(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(LacyError, match="pip install sentencepiece") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "E24"
