"""Tokenizers: exact round trips, specials in their places, the same tokenizer every time."""

import json
import random
import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lacy.corpus import load_tokenizer, tokenizer_fingerprint, train_tokenizer
from lacy.corpus.tokenizer import END_TOKEN, begin_end, decode, encode_texts
from lacy.errors import LacyError
from lacy.types import CALL_TOKEN


def sentences(count, seed):
    """Many different words in which parts come back, as in a language."""
    chance = random.Random(seed)
    parts = ["ma", "ri", "lo", "pez", "köl", "ton", "ber", "lin", "zü", "rich", "ing", "ed", "son"]
    words = ["".join(chance.choices(parts, k=chance.randint(1, 4))) for _ in range(400)]
    return [
        f"{' '.join(chance.choices(words, k=12)).capitalize()} in {chance.randint(1800, 2020)}."
        for _ in range(count)
    ]


TEXTS = sentences(300, seed=0)
KINDS = ("bpe", "unigram")
TOKENIZERS = {kind: train_tokenizer(TEXTS, 400, kind=kind) for kind in KINDS}

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def ids_of(tokenizer, text):
    return next(encode_texts(tokenizer, [text])).ids


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_fixed_ids(kind):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.convert_tokens_to_ids(END_TOKEN) == 0
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert tokenizer.convert_tokens_to_ids(CALL_TOKEN) == len(tokenizer) - 1
    assert set(tokenizer.all_special_ids) == {0, len(tokenizer) - 1}
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [258, 259, 300, 400])
def test_vocabulary_has_the_size_asked_for(kind, size):
    assert len(train_tokenizer(TEXTS, size, kind=kind)) == size


@pytest.mark.parametrize("kind", KINDS)
@given(text=any_text)
@example(text=f"a {CALL_TOKEN} b {END_TOKEN} c{CALL_TOKEN}")
@example(text=" leading, trailing  \r\n\t\0 ")
@example(text="\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \ufb01 \u3000\u00a0")
@settings(max_examples=150, deadline=None)
def test_every_text_is_decoded_exactly_without_special_tokens(kind, text):
    tokenizer = TOKENIZERS[kind]
    ids = ids_of(tokenizer, text)
    assert decode(tokenizer, ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_digits_are_single_tokens_unless_told_otherwise(kind):
    tokens = TOKENIZERS[kind].convert_ids_to_tokens(ids_of(TOKENIZERS[kind], "in 1945"))
    assert tokens[-4:] == ["1", "9", "4", "5"]
    whole = train_tokenizer([*TEXTS, *["in 1945"] * 100], 400, kind=kind, split_digits=False)
    assert any(re.search(r"\d\d", token) for token in whole.get_vocab())
    assert not any(re.search(r"\d\d", token) for token in TOKENIZERS[kind].get_vocab())


def test_literal_specials_in_the_training_text_stay_plain():
    texts = [f"{CALL_TOKEN} {END_TOKEN} and {CALL_TOKEN}"] * 200
    for kind in KINDS:
        tokenizer = train_tokenizer(texts, 400, kind=kind)
        ids = ids_of(tokenizer, texts[0])
        assert decode(tokenizer, ids) == texts[0]
        assert not set(ids) & set(tokenizer.all_special_ids)


def test_same_texts_give_the_same_tokenizer_in_another_process():
    code = (
        "import sys, json, hashlib\n"
        "from lacy.corpus import train_tokenizer, tokenizer_fingerprint\n"
        "texts = json.loads(sys.stdin.read())\n"
        "for kind in ('bpe', 'unigram'):\n"
        "    found = train_tokenizer(texts, 400, kind=kind)\n"
        "    whole = found.backend_tokenizer.to_str().encode()\n"
        "    print(tokenizer_fingerprint(found), hashlib.sha256(whole).hexdigest())\n"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(TEXTS),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    for kind, line in zip(KINDS, runs.pop().splitlines(), strict=True):
        assert line.split()[0] == tokenizer_fingerprint(TOKENIZERS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same_also_by_plain_transformers(kind, tmp_path):
    tokenizer = TOKENIZERS[kind]
    tokenizer.save_pretrained(tmp_path)
    for loaded in (
        load_tokenizer(tmp_path),
        load_tokenizer(str(tmp_path)),
        load_tokenizer(tmp_path / "tokenizer.json"),
        AutoTokenizer.from_pretrained(tmp_path),
    ):
        assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tokenizer)
        assert len(loaded) == len(tokenizer)


def test_fingerprint_ignores_use_and_notices_change():
    tokenizer = train_tokenizer(TEXTS, 400)
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "b c d"], padding=True, truncation=True, max_length=2)
    assert tokenizer_fingerprint(tokenizer) == before
    others = [
        train_tokenizer(TEXTS, 399),
        train_tokenizer(TEXTS, 400, split_digits=False),
        train_tokenizer(sentences(300, seed=1), 400),
        TOKENIZERS["unigram"],
    ]
    assert len({before, *map(tokenizer_fingerprint, others)}) == 5
    tokenizer.add_tokens(["new"])
    assert tokenizer_fingerprint(tokenizer) != before


def foreign(**special):
    """A small tokenizer that someone else made, without <CALL>."""
    vocab = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_call_is_added_as_the_last_token(tmp_path):
    foreign(eos_token="</s>").save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer) == 258
    assert tokenizer.convert_tokens_to_ids(CALL_TOKEN) == 257
    assert begin_end(tokenizer) == (256, 256)
    text = f"x {CALL_TOKEN} </s>"
    assert decode(tokenizer, ids_of(tokenizer, text)) == text
    tokenizer.save_pretrained(tmp_path / "again")
    again = load_tokenizer(tmp_path / "again")
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)


def test_tokenizers_that_cannot_be_used(tmp_path):
    foreign().save_pretrained(tmp_path / "bare")
    wrong = foreign(eos_token="</s>")
    wrong.add_tokens([CALL_TOKEN, "later"])
    wrong.save_pretrained(tmp_path / "wrong")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    for name, code, words in [
        ("bare", "E24", "neither a begin nor an end"),
        ("wrong", "E24", "the last id is 258"),
        ("empty", "E24", "no tokenizer.json"),
        ("broken", "E24", "broken"),
        ("nothing", "E13", "nothing"),
    ]:
        with pytest.raises(LacyError) as caught:
            load_tokenizer(tmp_path / name)
        assert caught.value.code == code and words in str(caught.value)


def test_tokenizer_training_needs_text_and_a_minimum_vocabulary():
    for texts in ([], [" ", "\n"], ["\ud800"]):
        with pytest.raises(LacyError) as caught:
            train_tokenizer(texts, 300)
        assert caught.value.code == "E28"
    for options in ({"vocab_size": 257}, {"vocab_size": 300, "kind": "wordpiece"}):
        with pytest.raises(LacyError) as caught:
            train_tokenizer(TEXTS, **options)
        assert caught.value.code == "E12"


def test_offsets_cover_the_text_in_order():
    text = "Né 😀 1945"
    found = next(encode_texts(TOKENIZERS["bpe"], [text]))
    assert found.offsets[0][0] == 0 and found.offsets[-1][1] == len(text)
    assert found.offsets == sorted(found.offsets)
    emoji = [span for span in found.offsets if span == (3, 4)]
    assert len(emoji) == 4  # one character, four bytes, four tokens


def test_importing_the_package_is_fast_and_loads_no_torch(tmp_path):
    TOKENIZERS["bpe"].save_pretrained(tmp_path)
    code = (
        "import sys, lacy.corpus\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'tokenizers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from lacy.corpus.reading import ReadReport\n"
        "assert callable(lacy.corpus.read)\n"
        f"lacy.corpus.load_tokenizer({str(tmp_path)!r})\n"
        "lacy.corpus.PackedData, lacy.corpus.BatchOrder, lacy.corpus.Encoded\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_the_reader_pass_through_tokenizer_training(kind):
    def texts():
        yield from TEXTS
        raise LacyError("E13", path="gone", do="look")

    with pytest.raises(LacyError) as caught:
        train_tokenizer(texts(), 400, kind=kind)
    assert caught.value.code == "E13"
