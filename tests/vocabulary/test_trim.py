"""A model with fewer tokens: texts, ids, special tokens, rows, files, and llama.cpp."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from helpers.llama_server import llama_server, needs_llama
from helpers.models import ALL, CALL, END, TEXTS, gpt2, llama
from helpers.waiting import PATIENCE
from lacy.corpus import TokenText, begin_end, choose_begin_end, encode_texts, train_tokenizer
from lacy.errors import LacyError
from lacy.model import FINGERPRINT, Loaded, load_model, model_fingerprint, save_model, write_gguf
from lacy.vocabulary import Vocabulary, tailor, task_vocabulary, trim_vocabulary
from lacy.vocabulary.task import tokens_fingerprint
from lacy.vocabulary.tokens import protected_ids

KINDS = ["byte_level", "byte_level_unigram", "metaspace", "llama2_style"]
TASK = [("", "Mara Vell was born in Zürich on 12 March; he lived in São Paulo and 東京.")]


def small(tokenizer, examples=TASK):
    return task_vocabulary(tokenizer, examples, tolerance=0)


def trimmed(tokenizer, vocabulary=None, make=llama, **more):
    one = make(tokenizer, **more)
    loaded = Loaded(one.model, tokenizer, {})
    return trim_vocabulary(loaded, vocabulary or small(tokenizer))


def encode(tokenizer, text):
    return next(encode_texts(tokenizer, [text])).ids


SMALLER = {name: trimmed(ALL[name]) for name in KINDS}
NUMBERS = {
    name: {
        old: SMALLER[name].tokenizer.get_vocab().get(token)
        for token, old in ALL[name].get_vocab().items()
    }
    for name in KINDS
}
PIECES = [
    *"abzé東😀\n\t .,-0179", "Mara", " Vell", " was born in", "Zürich", " March", " 12", "<CALL>",
    "<|endoftext|>", " physics", " University", "Lovelace", "Ω", "\u0301",
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_every_text_can_be_written_and_kept_texts_keep_their_tokens(name, text):
    old, new, number = ALL[name], SMALLER[name].tokenizer, NUMBERS[name]
    before, after = encode(old, text), encode(new, text)
    if all(number[n] is not None for n in before):
        assert after == [number[n] for n in before]
    old_text, new_text = TokenText(old), TokenText(new)
    assert new_text.decode(after) == old_text.decode(before)
    if "byte_level" in name:
        assert new_text.decode(after) == text.encode("utf-8", "surrogatepass").decode(
            "utf-8", "replace"
        )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("make", [llama, gpt2])
def test_states_and_logits_of_kept_tokens_do_not_change(name, make):
    tokenizer, new, number = ALL[name], SMALLER[name].tokenizer, NUMBERS[name]
    ids = encode(tokenizer, TASK[0][1])
    assert len(new) < len(tokenizer)
    old = make(tokenizer).model
    with torch.no_grad():
        before = old(torch.tensor([ids])).logits
        loaded = trimmed(tokenizer, make=make)
        after = loaded.model(torch.tensor([[number[n] for n in ids]])).logits
    columns = [n for n in sorted(number, key=lambda n: n) if number[n] is not None]
    assert torch.allclose(before[..., columns], after, atol=1e-5)
    assert loaded.model.config.vocab_size == len(new) == after.shape[-1]
    assert (
        new.convert_ids_to_tokens(len(new) - 1)
        == CALL
        == tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
    )


def test_a_trimmed_model_is_a_plain_folder(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.chat_template = "{% for m in messages %}<|endoftext|>{{ m.content }}{% endfor %}"
    one = llama(tokenizer)
    one.model.config.eos_token_id = [0, 300]
    one.model.generation_config.eos_token_id = [0, 300]
    one.model.generation_config.suppress_tokens = [5, 300, 301]
    one.model.generation_config.bad_words_ids = [[300], [5, 301]]
    loaded = Loaded(
        one.model, tokenizer, {"tune": {"depth": "row"}, "call_id": 399, FINGERPRINT: ""}
    )
    loaded.meta[FINGERPRINT] = model_fingerprint(loaded.model)
    end = tokenizer.convert_ids_to_tokens(300)
    smaller = trim_vocabulary(loaded, small(tokenizer))
    kept = smaller.tokenizer.convert_tokens_to_ids(end)
    save_model(tmp_path / "m", smaller.model, smaller.tokenizer, smaller.meta)
    back = load_model(tmp_path / "m")
    assert back.meta["trimmed"]["tokens"] == len(tokenizer)
    assert back.meta["tune"] == {"depth": "row"} and back.call_id == len(back.tokenizer) - 1
    assert back.tokenizer.chat_template == tokenizer.chat_template
    assert back.model.generation_config.eos_token_id == [0, kept]
    names = tokenizer.convert_ids_to_tokens([5, 301])
    assert back.model.generation_config.bad_words_ids[0] == [kept]
    others = back.model.generation_config.bad_words_ids[1:]
    here = [name in back.tokenizer.get_vocab() for name in names]
    assert others == ([back.tokenizer.convert_tokens_to_ids(names)] if all(here) else [])
    text = "Mara Vell was born, 東京 and <CALL>!"
    plain, plain_tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "m"),
        AutoTokenizer.from_pretrained(tmp_path / "m"),
    )
    ids = plain_tokenizer(text, split_special_tokens=True)["input_ids"]
    assert ids == [0, *encode(smaller.tokenizer, text)]
    with torch.no_grad():
        found = plain(torch.tensor([ids])).logits
        assert torch.equal(found, smaller.model(torch.tensor([ids])).logits)
    weights = (tmp_path / "m" / "model.safetensors").stat().st_size
    tied = 2 - plain.config.tie_word_embeddings
    assert weights < 4 * (sum(p.numel() for p in plain.parameters()) + 100) + 20_000 * tied


def test_special_tokens_and_their_places_are_kept():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(ALL["byte_level"].backend_tokenizer.to_str()),
        bos_token=END, eos_token=END, pad_token=END,
    )  # fmt: skip
    backend = tokenizer.backend_tokenizer
    call_id = len(tokenizer) - 1
    backend.post_processor = processors.Sequence([
        processors.ByteLevel(),
        processors.TemplateProcessing(
            single=f"{END} $A {CALL}", special_tokens=[(END, 0), (CALL, call_id)]
        ),
    ])  # fmt: skip
    choose_begin_end(tokenizer, "test", END)
    new = trimmed(tokenizer).tokenizer
    ids = new("Mara Vell")["input_ids"]
    assert ids == [0, *encode(new, "Mara Vell"), len(new) - 1]
    assert begin_end(new) == begin_end(tokenizer) == (0, 0)
    assert (new.pad_token, new.eos_token) == (END, END)
    roberta = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(ALL["byte_level"].backend_tokenizer.to_str()),
        bos_token=END, eos_token=END,
    )  # fmt: skip
    roberta.backend_tokenizer.post_processor = processors.RobertaProcessing(
        (CALL, call_id), (END, 0)
    )
    shorter = trimmed(roberta).tokenizer
    assert shorter("Mara")["input_ids"] == [0, *encode(shorter, "Mara"), len(shorter) - 1]


def test_whole_words_without_merges_are_kept():
    """Llama 3's tokenizer takes words of its vocabulary before it merges."""
    state = json.loads(ALL["byte_level"].backend_tokenizer.to_str())
    state["model"]["ignore_merges"] = True
    vocabulary = state["model"]["vocab"]
    vocabulary["Quilodell"] = len(vocabulary)
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] != CALL]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token=END, eos_token=END
    )
    tokenizer.add_tokens([CALL], special_tokens=True)
    assert len(encode(tokenizer, "Quilodell")) == 1
    new = trimmed(tokenizer, small(tokenizer, [("", "Quilodell")])).tokenizer
    assert len(encode(new, "Quilodell")) == 1
    assert TokenText(new).decode(encode(new, "Quilodellis 東")) == "Quilodellis 東"


def test_tokenizers_that_cannot_be_trimmed_are_refused():
    words = Tokenizer(models.WordPiece({END: 0, "a": 1, "##b": 2}, unk_token=END))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = Tokenizer(models.BPE({"a": 0, "é": 1, "aé": 2, END: 3}, [("a", "é")]))
    for backend, why in ((words, "WordPiece"), (letters, "single byte")):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, bos_token=END)
        tokenizer.add_tokens([CALL], special_tokens=True)
        whole = Vocabulary((0, 1), len(tokenizer), tokens_fingerprint(tokenizer))
        with pytest.raises(LacyError, match=rf"E274.*{why}"):
            trim_vocabulary(Loaded(llama(tokenizer).model, tokenizer), whole)
    with pytest.raises(LacyError, match="E271"):
        trimmed(ALL["metaspace"], small(ALL["byte_level"]))
    loaded = Loaded(llama(ALL["byte_level"]).model, ALL["byte_level"])
    tailor(loaded)
    with pytest.raises(LacyError, match="E275"):
        trim_vocabulary(loaded, small(ALL["byte_level"]))


def test_bytes_that_no_token_contains_need_no_token():
    """SmolLM2's tokenizer has no token for 21 bytes, and drops them from texts."""
    state = json.loads(ALL["byte_level"].backend_tokenizer.to_str())
    gone = "ñ"  # the byte 0xF1 in the table of byte-level tokenizers
    kept = [name for name in state["model"]["vocab"] if name != gone]
    state["model"]["vocab"] = {name: number for number, name in enumerate(kept)}
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] == END]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token=END, eos_token=END
    )
    tokenizer.add_tokens([CALL], special_tokens=True)
    new = trimmed(tokenizer).tokenizer
    text = "Mara ñandú \U00041000 東京"
    assert TokenText(new).decode(encode(new, text)) == TokenText(tokenizer).decode(
        encode(tokenizer, text)
    )


def test_a_vocabulary_of_all_tokens_changes_nothing():
    tokenizer = ALL["byte_level"]
    every = Vocabulary(tuple(range(len(tokenizer))), len(tokenizer), tokens_fingerprint(tokenizer))
    new = trimmed(tokenizer, every).tokenizer
    assert tokens_fingerprint(new) == tokens_fingerprint(tokenizer)
    assert protected_ids(new) == protected_ids(tokenizer)


@needs_llama
@pytest.mark.slow
def test_llama_cpp_splits_texts_as_the_trimmed_tokenizer_does(tmp_path):
    import httpx

    tokenizer = train_tokenizer(TEXTS, 420)
    one = llama(tokenizer)
    smaller = trim_vocabulary(Loaded(one.model, tokenizer), small(tokenizer))
    path = write_gguf(smaller, tmp_path / "m.gguf", "f32")
    texts = [*TEXTS[:3], "".join(PIECES), "Mara Vell was born", "a  b\r\n\n 1234 x_y 'll <CALL>"]
    with llama_server(path, 64) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for text in texts:
            body = {"content": text, "parse_special": False}
            found = client.post("/tokenize", json=body).json()["tokens"]
            assert found == encode(smaller.tokenizer, text), text
        prompt = [0, *encode(smaller.tokenizer, "Mara Vell")]
        body = {"prompt": prompt, "n_predict": 6, "temperature": 0, "return_tokens": True}
        said = client.post("/completion", json=body).json()["tokens"]
    ids = list(prompt)
    with torch.inference_mode():
        for _ in said:
            ids.append(int(smaller.model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert said == ids[len(prompt) :] and said
