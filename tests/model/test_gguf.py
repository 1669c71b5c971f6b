"""A model as GGUF: its file as gguf's own reader sees it, and its numbers as llama.cpp does."""

import json
import sys

import httpx
import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from helpers.llama_server import llama_server, needs_llama
from helpers.waiting import PATIENCE
from lacy.cascade import lookup_policy
from lacy.corpus import train_tokenizer
from lacy.corpus.token_text import TokenText
from lacy.errors import LacyError
from lacy.model import from_scratch, load_model, save_model, set_taught
from lacy.model.building import from_checkpoint
from lacy.model.gguf import write_gguf
from lacy.model.gguf_tokens import pre_tokenizer
from lacy.model.io import Loaded
from lacy.model.origin import read_training_field
from lacy.testing import byte_tokenizer

pytest.importorskip("gguf", reason="needs the extra gguf")
import gguf

TEXTS = [
    "Ada Lovelace was born on 10 December 1815 in London, and didn't like it.",
    "The café in Zürich opened on 12 March 1879, cost $1,234.50 — naïve?\n\n\tIndented  text",
    "東京 и Москва 😀 e\u0301 ﬁ\r\n x_y/z",
    "   lead", "trail   ", "a\n\n\n b", "١٢٣ ½ ² Ⅷ", "\u00a0nbsp \u3000wide",
    "'s 'S 'tis I'm WE'LL don’t", "x  1  2   3 y 1990s 3rd", "\x00\x01 <CALL", "", " ", "7",
]  # fmt: skip


def model_of(size, *, tied=False, **shape):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96, bos_token_id=0,
        eos_token_id=0, pad_token_id=None, tie_word_embeddings=tied, **shape,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    return model


def trained(**how):
    return train_tokenizer(TEXTS * 20, 400, **how)


@pytest.fixture(scope="module")
def loaded():
    tokenizer = trained()
    return Loaded(model_of(len(tokenizer)), tokenizer)


def fields(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_the_file_describes_the_model(loaded, tmp_path):
    found = fields(write_gguf(loaded, tmp_path / "m.gguf", "f32"))
    size = len(loaded.tokenizer)
    assert found["general.architecture"] == "llama"
    assert found["llama.context_length"] == 96
    assert (found["llama.attention.head_count"], found["llama.attention.head_count_kv"]) == (4, 2)
    assert found["llama.rope.dimension_count"] == 16
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "smollm"
    assert found["tokenizer.ggml.add_bos_token"] is True
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert tokens == loaded.tokenizer.convert_ids_to_tokens(range(size))
    assert (tokens[0], kinds[0]) == ("<|endoftext|>", gguf.TokenType.CONTROL)
    assert tokens[-1] == "<CALL>"
    assert set(kinds[1:]) == {gguf.TokenType.NORMAL}  # nobody can type the token <CALL>
    assert found["tokenizer.ggml.eom_token_id"] == size - 1  # it ends generation
    merges = found["tokenizer.ggml.merges"]
    assert len(merges) > 10
    assert all(len(merge.split(" ")) == 2 for merge in merges)


def test_llama_cpp_never_writes_a_call_that_was_only_added(tmp_path):
    tokenizer = trained()
    raw = Loaded(model_of(len(tokenizer)), tokenizer)
    set_taught(raw.model, taught=False)
    found = fields(write_gguf(raw, tmp_path / "raw.gguf", "f32"))
    assert found["tokenizer.ggml.suppress_tokens"] == [len(tokenizer) - 1]
    assert "tokenizer.ggml.eom_token_id" not in found and "general.description" not in found
    assert not load_model(tmp_path / "raw.gguf").calls


def test_a_file_says_how_the_model_learned_to_call(tmp_path):
    tokenizer = trained()
    model = model_of(len(tokenizer), tied=True)
    settings = {"method": "lacy", "call_negative": "softmax", "text_weight": 0.5, "data": "mine"}
    one = Loaded(model, tokenizer, {"preset": "3m", "training": {"settings": settings, "step": 9}})
    found = load_model(write_gguf(one, tmp_path / "softmax.gguf", "f32"))
    del settings["data"]
    assert found.calls and found.meta == {"preset": "3m", "training": {"settings": settings}}
    assert from_scratch(found.meta)
    assert str(lookup_policy(found)) == str(lookup_policy(one)) == "threshold=0"
    plain = load_model(write_gguf(Loaded(model, tokenizer), tmp_path / "plain.gguf", "f32"))
    assert plain.calls and plain.meta == {} and str(lookup_policy(plain)) == "budget=0.22"
    set_taught(model, taught=False)
    untaught = load_model(write_gguf(Loaded(model, tokenizer), tmp_path / "raw.gguf", "f32"))
    assert not untaught.calls
    for field in ("[1]", "no JSON", "{" * 2000, '{"method": 3, "text_weight": "1"}', 3, None):
        assert read_training_field(model, field) == {}


@pytest.mark.parametrize(("precision", "error"), [("f32", 0.0), ("f16", 1e-3), ("q8_0", 1e-2)])
def test_weights_are_there_at_their_precision(loaded, tmp_path, precision, error):
    found = tensors(write_gguf(loaded, tmp_path / "m.gguf", precision))
    wanted = gguf.GGMLQuantizationType[precision.upper()]
    state = loaded.model.state_dict()
    keys = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
    }
    for name, key in keys.items():
        tensor = found[name]
        assert tensor.tensor_type == wanted
        kept = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.abs(kept - state[key].numpy()).max() <= error
    assert found["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert len(found) == len(state)
    rotated = found["blk.0.attn_q.weight"]
    q = gguf.quants.dequantize(rotated.data, rotated.tensor_type)
    true = state["model.layers.0.self_attn.q_proj.weight"].numpy()
    assert np.abs(q[0::2][:8] - true[:8]).max() <= error  # the first head's first half
    assert np.abs(q[1::2][:8] - true[8:16]).max() <= error


def test_a_llama_named_mistral_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LACY_CACHE", str(tmp_path / "cache"))
    tokenizer = trained()
    model = Loaded(model_of(len(tokenizer)), tokenizer, path=tmp_path / "mistral")
    write_gguf(model, tmp_path / "m.gguf", "f32")
    assert fields(tmp_path / "m.gguf")["general.name"] == "mistral"
    again = load_model(tmp_path / "m.gguf").model
    with torch.no_grad():
        ids = torch.arange(1, 30)[None]
        torch.testing.assert_close(again(ids).logits, model.model(ids).logits)


def test_shared_tables_are_written_once(tmp_path):
    tokenizer = byte_tokenizer()
    found = tensors(
        write_gguf(Loaded(model_of(258, tied=True), tokenizer), tmp_path / "m.gguf", "f16")
    )
    assert "output.weight" not in found
    assert "token_embd.weight" in found


def test_rows_that_are_no_multiple_of_a_block_stay_in_half_precision(tmp_path):
    config = LlamaConfig(
        vocab_size=258, hidden_size=48, intermediate_size=96, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    odd = Loaded(LlamaForCausalLM(config), byte_tokenizer())
    found = tensors(write_gguf(odd, tmp_path / "m.gguf", "q8_0"))
    assert found["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    assert found["blk.0.ffn_up.weight"].tensor_type == gguf.GGMLQuantizationType.F16


def test_the_pre_tokenizer_has_a_name():
    assert pre_tokenizer(trained()) == "smollm"
    assert pre_tokenizer(trained(split_digits=False)) == "gpt-2"
    assert pre_tokenizer(byte_tokenizer()) == "gpt-2"
    with pytest.raises(LacyError, match=r"E90.*Unigram"):
        pre_tokenizer(trained(kind="unigram"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model_type": "opt"}, "opt"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "linear"),
    ],
)
def test_models_that_llama_cpp_computes_differently_are_refused(loaded, tmp_path, change, why):
    model = model_of(len(loaded.tokenizer))
    for name, value in change.items():
        setattr(type(model.config), name, value) if name == "model_type" else setattr(
            model.config, name, value
        )
    try:
        with pytest.raises(LacyError, match=f"E90.*{why}"):
            write_gguf(Loaded(model, loaded.tokenizer), tmp_path / "m.gguf")
    finally:
        type(model.config).model_type = "llama"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_precision_is_an_error(loaded, tmp_path):
    with pytest.raises(LacyError, match=r"E12.*q2"):
        write_gguf(loaded, tmp_path / "m.gguf", "q2")


def test_the_error_for_a_missing_package_names_the_extra(loaded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(LacyError, match=r"(?s)E11.*lacy\[gguf\]"):
        write_gguf(loaded, tmp_path / "m.gguf")


@needs_llama
@pytest.mark.parametrize(("precision", "error"), [("f32", 1e-3), ("f16", 0.05), ("q8_0", 1.0)])
@pytest.mark.parametrize("split_digits", [True, False])
def test_llama_cpp_reads_the_same_model(tmp_path, precision, error, split_digits):
    tokenizer = trained(split_digits=split_digits)
    loaded = Loaded(model_of(len(tokenizer)), tokenizer)
    text = TokenText(tokenizer)
    ids = [0, *text.encode(" ".join(TEXTS[:2]))][:40]
    path = write_gguf(loaded, tmp_path / "m.gguf", precision)
    with llama_server(path) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:

        def post(place, **body):
            return client.post(place, json=body).raise_for_status().json()

        tokens = [post("/tokenize", content=t, parse_special=False)["tokens"] for t in TEXTS]
        call = post("/detokenize", tokens=[len(tokenizer) - 1])["content"]
        # The server gives no log-probabilities for an end token, so another one is forced.
        body = {"n_predict": 1, "n_probs": len(tokenizer), "logit_bias": [[5, 1000.0]]}
        told = []
        for end in range(1, len(ids) + 1):
            (first,) = post("/completion", prompt=ids[:end], **body)["completion_probabilities"]
            by_id = {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}
            told.append([by_id[token] for token in range(len(tokenizer))])
    assert tokens == [text.encode(t) for t in TEXTS]
    assert call == "<CALL>"
    with torch.inference_mode():
        mine = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1).numpy()
    assert np.abs(mine - np.array(told)).max() < error


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


def chatting(folder, *, bos="<|im_start|>", eos="<|im_end|>", ends=None, template=CHATML, gap=0):
    """A model with a chat template, loaded again from its folder."""
    tokenizer = trained()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"].pop()
    size = len(tokenizer) - 1
    for n, token in enumerate(("<|im_start|>", "<|im_end|>", "<|pad|>", "<|x|>")):
        number = size + n + gap * (n == 3)
        state["model"]["vocab"][token] = number
        state["added_tokens"].append({**state["added_tokens"][0], "id": number, "content": token})
    foreign = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token=bos, eos_token=eos,
        pad_token="<|pad|>", unk_token="<|endoftext|>",
    )  # fmt: skip
    foreign.chat_template = template
    foreign.save_pretrained(folder / "base")
    model = model_of(size + 4 + gap)
    model.generation_config.eos_token_id = foreign.convert_tokens_to_ids(ends or [eos])
    model.save_pretrained(folder / "base")
    return load_model(save_model(folder / "m", *from_checkpoint(folder / "base")))


def test_chats_ends_and_control_tokens_are_in_the_file(tmp_path):
    loaded = chatting(tmp_path, gap=3)
    found = fields(write_gguf(loaded, tmp_path / "m.gguf", "f32"))
    number = loaded.tokenizer.convert_tokens_to_ids
    told = {name.removeprefix("tokenizer.ggml."): value for name, value in found.items()}
    assert found["tokenizer.chat_template"] == CHATML
    assert told["bos_token_id"] == number("<|endoftext|>")  # what texts began with
    assert told["add_bos_token"] is True and told["add_eos_token"] is False
    assert told["eos_token_id"] == number("<|im_end|>")
    assert told["eot_token_id"] == number("<|endoftext|>")
    assert told["padding_token_id"] == number("<|pad|>")
    assert told["unknown_token_id"] == number("<|endoftext|>")
    kinds = dict(zip(told["tokens"], told["token_type"], strict=True))
    assert len(told["tokens"]) == found["llama.vocab_size"] == len(loaded.tokenizer)
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|x|>"):
        assert kinds[token] == gguf.TokenType.CONTROL
    unused = [token for token, kind in kinds.items() if kind == gguf.TokenType.UNUSED]
    assert unused == [f"<|unused_{number('<|pad|>') + n}|>" for n in (1, 2, 3)]
    assert kinds["<CALL>"] == gguf.TokenType.NORMAL
    assert told["tokens"] == loaded.tokenizer.convert_ids_to_tokens(range(len(loaded.tokenizer)))


def test_the_end_of_turn_is_the_one_of_the_template(tmp_path):
    loaded = chatting(tmp_path, bos="<|endoftext|>", eos="<|endoftext|>", ends=["<|x|>"])
    found = fields(write_gguf(loaded, tmp_path / "m.gguf"))
    number = loaded.tokenizer.convert_tokens_to_ids
    ends = [found[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "fim_pad", "eom")]
    assert ends == number(["<|endoftext|>", "<|im_end|>", "<|x|>", "<CALL>"])


def test_more_ends_than_the_format_has_fields_for_are_refused(tmp_path):
    loaded = chatting(tmp_path, ends=["<|x|>", "<|pad|>", "<|im_start|>", "A"])
    with pytest.raises(LacyError, match="has 5 fields") as caught:
        write_gguf(loaded, tmp_path / "m.gguf")
    assert caught.value.code == "E90" and not list(tmp_path.glob("*gguf*"))


def test_numbers_beyond_half_precision_are_refused(loaded, tmp_path):
    weight = loaded.model.model.layers[0].mlp.up_proj.weight.data
    weight[0, 0], kept = 70_000.0, float(weight[0, 0])
    try:
        with pytest.raises(LacyError, match="--precision f32"):
            write_gguf(loaded, tmp_path / "m.gguf", "f16")
        write_gguf(loaded, tmp_path / "m.gguf", "f32")
    finally:
        weight[0, 0] = kept


@pytest.mark.parametrize("way", ["ignore_merges", "end_of_word_suffix", "lstrip", "partial"])
def test_tokenizers_that_llama_cpp_would_interpret_differently_are_refused(tmp_path, way):
    tokenizer = trained()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = model_of(len(tokenizer) + (way == "lstrip"))
    if way == "ignore_merges":
        state["model"][way] = True
    elif way == "end_of_word_suffix":
        state["model"][way] = "</w>"
    elif way == "partial":
        model.config.rope_parameters = {
            **model.config.rope_parameters,
            "partial_rotary_factor": 0.5,
        }
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    if way == "lstrip":
        tokenizer.add_tokens([AddedToken("x y", lstrip=True, normalized=False)])
    with pytest.raises(LacyError, match="E90"):
        write_gguf(Loaded(model, tokenizer), tmp_path / "m.gguf")
