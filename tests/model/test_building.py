import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.model import build_model, hidden_states, load_model, save_model
from lacy.model.building import from_checkpoint
from lacy.testing import byte_tokenizer
from lacy.types import CALL_TOKEN

SHAPE = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 2, "ffn": 64}


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_depend_on_the_seed_alone_and_the_global_state_stays(tokenizer):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build_model("tiny", tokenizer, context=32, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert equal(first, build_model("tiny", tokenizer, context=32, seed=5))
    assert not equal(first, build_model("tiny", tokenizer, context=32, seed=6))


@pytest.mark.parametrize("preset", ["tiny", "334m"])
def test_layer_outputs_are_scaled_by_depth(preset, tokenizer):
    shape = SHAPE | {"width": 64, "layers": 8}
    model = build_model(preset, tokenizer, context=32, **shape)
    ends, starts = ("o_proj.weight", "attn.c_proj.weight"), ("q_proj.weight", "c_attn.weight")
    spread = {
        name: parameter.std().item()
        for name, parameter in model.named_parameters()
        if name.endswith(ends + starts)
    }
    inward = [value for name, value in spread.items() if name.endswith(starts)]
    outward = [value for name, value in spread.items() if name.endswith(ends)]
    assert len(inward) == len(outward) == 8
    assert sum(outward) / sum(inward) == pytest.approx(1 / 4, rel=0.05)


@pytest.mark.parametrize("preset", ["tiny", "334m"])
def test_the_row_of_begin_end_and_padding_is_trained(preset, tokenizer):
    model = build_model(preset, tokenizer, context=32, **SHAPE)
    hidden_states(model, torch.zeros(1, 4, dtype=torch.long))[..., 0].sum().backward()
    embedding = model.get_input_embeddings()
    assert embedding.weight[0].abs().sum() > 0
    assert embedding.weight.grad[0].abs().sum() > 0


def test_gpt2_has_no_biases_in_effect_also_after_saving(tokenizer, tmp_path):
    model = build_model("334m", tokenizer, context=32, **SHAPE)
    for candidate in (model, load_model(save_model(tmp_path / "m", model, tokenizer)).model):
        biases = {n: p for n, p in candidate.named_parameters() if n.endswith(".bias")}
        assert biases
        assert not any(p.requires_grad or p.any() for p in biases.values())
        assert all(
            p.requires_grad for n, p in candidate.named_parameters() if not n.endswith(".bias")
        )


def test_unknown_shapes_and_tokenizers_without_call_are_refused(tokenizer):
    with pytest.raises(LacyError, match="there is no such choice"):
        build_model("2m", tokenizer, context=32)
    with pytest.raises(LacyError, match="depth"):
        build_model("tiny", tokenizer, context=32, depth=3)
    longer = byte_tokenizer()
    longer.add_tokens(["behind"])
    with pytest.raises(LacyError) as caught:
        build_model("tiny", longer, context=32)
    assert caught.value.code == "E57"


def plain_checkpoint(path, *, tied, kind="llama", extra_rows=0):
    """A model from elsewhere: its tokenizer has no <CALL>."""
    own = train_tokenizer(["some text to train on, long enough"] * 20, 280)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    text = own.backend_tokenizer.to_str().replace(CALL_TOKEN, "<unused>")
    outside = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(text),
        bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>",
    )  # fmt: skip
    size = len(outside) + extra_rows
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=1, n_head=2)
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
            bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    outside.save_pretrained(path)
    return model.eval(), len(outside)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("extra_rows", [0, 5])
def test_a_checkpoint_gets_a_mean_call_row_and_is_otherwise_unchanged(tmp_path, tied, extra_rows):
    before, text_tokens = plain_checkpoint(tmp_path / "hub", tied=tied, extra_rows=extra_rows)
    model, tokenizer = from_checkpoint(tmp_path / "hub")
    assert len(tokenizer) == text_tokens + 1 == model.config.vocab_size
    assert tokenizer.get_vocab()[CALL_TOKEN] == text_tokens
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is table) == tied
    for weight in (head, table):
        assert weight.shape[0] == text_tokens + 1
        torch.testing.assert_close(weight[-1], weight[:-1].mean(0))
    ids = torch.tensor([[1, 2, 3, 4]])
    new, old = model.eval()(ids).logits, before(ids).logits
    torch.testing.assert_close(new[..., :-1], old[..., :text_tokens])
    assert model.config.pad_token_id is None
    assert model.get_input_embeddings().padding_idx is None


def test_our_own_model_keeps_its_call_row(tmp_path, tokenizer):
    model = build_model("tiny", tokenizer, context=32, seed=1)
    save_model(tmp_path / "m", model, tokenizer)
    again, _ = from_checkpoint(tmp_path / "m")
    assert equal(model, again)


def test_gpt2_checkpoints_work_and_another_tokenizer_is_refused(tmp_path, tokenizer):
    plain_checkpoint(tmp_path / "hub", tied=True, kind="gpt2")
    model, own = from_checkpoint(tmp_path / "hub")
    assert model.config.vocab_size == len(own)
    with pytest.raises(LacyError, match="another tokenizer") as caught:
        from_checkpoint(tmp_path / "hub", tokenizer)
    assert caught.value.code == "E59"
