"""A tailored head: its logits, its fallbacks, batches and contexts, against the whole head."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from helpers.models import ALL, TEXTS, gpt2, llama
from lacy.errors import LacyError
from lacy.model import Loaded, head_inputs, read_head
from lacy.vocabulary import tailor, task_vocabulary
from lacy.vocabulary.rows import ActiveRows, MemoryRows
from lacy.vocabulary.screen import Screen
from lacy.vocabulary.tokens import protected_ids

TOKENIZER = ALL["byte_level"]
SMALL = task_vocabulary(TOKENIZER, [("", "Ulm and Zürich")], tolerance=0)
CPU = torch.device("cpu")


def model(tied=True, seed=0, bias=False):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0, tie_word_embeddings=tied,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    if bias:
        made.lm_head.bias = torch.nn.Parameter(torch.randn(len(TOKENIZER)))
    return Loaded(made, TOKENIZER)


def capped(seed=0):
    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        final_logit_softcapping=5.0,
    )  # fmt: skip
    return Loaded(Gemma2ForCausalLM(config).eval(), TOKENIZER)


def prompt(text="Mara Vell was born in"):
    return torch.tensor([TOKENIZER(text, add_special_tokens=False)["input_ids"]])


def generate(loaded, ids_BT, **more):
    mask = torch.ones_like(ids_BT)
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0} | more
    with torch.no_grad():
        return loaded.model.generate(ids_BT, attention_mask=mask, **options)


# ---------------------------------------------------------------------------------- the bound


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 70), st.floats(1e-3, 1e3),
    st.booleans(), st.sampled_from([torch.float32, torch.bfloat16]),
)  # fmt: skip
def test_no_logit_lies_outside_its_bound(seed, rows, width, size, bias, dtype):
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=random) * torch.rand(rows, 1, generator=random)
    weight[0] = 0
    bias_V = torch.randn(rows, generator=random).to(dtype) if bias else None
    weight = weight.to(dtype)
    hidden = (torch.randn(3, width, generator=random) * size).to(dtype)
    chosen = sorted({n * 3 % rows for n in range(rows)})
    screen = Screen(MemoryRows(weight), bias_V, chosen, CPU)
    estimate, error = screen.estimate(hidden)
    exact = torch.nn.functional.linear(hidden, weight, bias_V)[:, chosen].double()
    assert bool(((exact - estimate.double()).abs() <= error.double() * (1 + 1e-6) + 1e-6).all())
    scale = hidden.float().norm(dim=1, keepdim=True) * weight.float().norm(dim=1)[chosen] + 1e-6
    assert float((error / (scale + 1)).max()) < 0.1 + 0.05 * (dtype != torch.float32) + 0.05


# ------------------------------------------------------------------------------- same texts


@pytest.mark.parametrize("make", [model, lambda: model(tied=False, bias=True), capped,
                                  lambda: Loaded(gpt2(TOKENIZER).model, TOKENIZER)])  # fmt: skip
@pytest.mark.parametrize("mode", ["static", "dynamic", "hybrid", "context"])
def test_with_the_exact_fallback_greedy_text_is_that_of_the_whole_head(make, mode):
    loaded = make()
    vocabulary = SMALL if mode in ("static", "hybrid") else None
    for text in ("Mara Vell was born in", "He married Ada"):
        wanted = generate(loaded, prompt(text))
        tailored = tailor(loaded, vocabulary, mode)
        assert torch.equal(generate(loaded, prompt(text)), wanted)
        assert tailored.use.steps >= 12
        tailored.restore()
        assert torch.equal(generate(loaded, prompt(text)), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_the_likeliest_tokens_are_exact(dtype, seed):
    loaded = model(seed=seed, tied=False)
    loaded.model.to(dtype)
    ids = prompt(TEXTS[seed])[:, :20]
    with torch.no_grad():
        hidden, whole = head_inputs(loaded.model, ids)
        tailored = tailor(loaded, SMALL, "static", top=5)
        found = tailored.head(hidden[0])  # a state per row, as in decoding
    best = whole[0].float()[:, :-1].topk(5)
    ours = found.float()[:, :-1].topk(5)
    assert torch.equal(best.values.sort().values, ours.values.sort().values) or torch.allclose(
        best.values, ours.values, atol=1e-5
    )
    assert torch.allclose(found[:, -1], whole[0, :, -1], atol=1e-5)  # <CALL>
    assert bool(found.isfinite().all())
    near = (found - whole[0]).abs().float()
    assert float(near.max()) < 0.05 * float(whole.float().abs().max())


@pytest.mark.parametrize("beams", [2, 3])
def test_beams_are_the_same_if_enough_tokens_are_exact(beams):
    loaded = model()
    wanted = generate(loaded, prompt(), num_beams=beams)
    tailor(loaded, SMALL, "static", top=2 * beams)
    assert torch.equal(generate(loaded, prompt(), num_beams=beams), wanted)


def test_sampling_from_the_k_likeliest_is_the_same():
    loaded = model()
    options = {"do_sample": True, "top_k": 4}
    torch.manual_seed(3)
    wanted = generate(loaded, prompt(), **options)
    tailor(loaded, SMALL, "static", top=4)
    torch.manual_seed(3)
    assert torch.equal(generate(loaded, prompt(), **options), wanted)


@pytest.mark.parametrize("make", [model, capped])
@pytest.mark.parametrize("most", [0.0, 0.05, 0.4])
def test_a_distribution_differs_by_no_more_than_allowed(make, most):
    loaded = make()
    with torch.no_grad():
        hidden, whole = head_inputs(loaded.model, prompt(TEXTS[0])[:, :30])
        tailored = tailor(loaded, SMALL, "static", fallback=most)
        found = tailored.head(hidden[0])
        scaled = read_head_of(loaded, tailored).finish(found)
        scaled = scaled.masked_fill(found.isneginf(), -torch.inf)
    p, q = (logits[:, :-1].softmax(-1) for logits in (whole[0], scaled))
    assert float((p - q).abs().sum(-1).max()) / 2 <= most + 1e-6
    assert tailored.use.fallbacks == tailored.use.whole > 0


def read_head_of(loaded, tailored):
    tailored.restore()
    return read_head(loaded.model)


# ------------------------------------------------------------------------------ without others


def reference(whole_BV, active):
    """The logits of active tokens, -inf for the others."""
    found = torch.full_like(whole_BV, -torch.inf)
    found[..., active] = whole_BV[..., active]
    return found


@pytest.mark.parametrize("make", [model, capped])
def test_without_a_fallback_other_tokens_have_no_probability(make):
    loaded = make()
    ids = prompt()
    with torch.no_grad():
        whole = loaded.model(ids).logits[:, -1]
        tailored = tailor(loaded, fallback="off")
        found = loaded.model(ids, logits_to_keep=1).logits[:, -1]
    active = sorted(protected_ids(TOKENIZER) | set(ids[0].tolist()))
    assert torch.allclose(found, reference(whole, active), atol=1e-5)
    assert len(tailored.head.active) == len(active)
    assert set(generate(loaded, ids)[0].tolist()) <= set(active)


def test_tokens_are_admitted_when_the_model_reads_them():
    loaded = model()
    tailored = tailor(loaded, fallback="off")
    new = next(n for n in range(300, 390) if n not in tailored.head.active)
    with torch.no_grad():
        cache = loaded.model(prompt(), use_cache=True, logits_to_keep=1)
        assert cache.logits[0, -1, new] == -torch.inf
        more = loaded.model(torch.tensor([[new]]), past_key_values=cache.past_key_values)
    assert more.logits[0, -1, new] > -torch.inf
    tailored.begin()
    assert new not in tailored.head.active


def test_a_batch_shares_its_tokens_or_keeps_them_apart():
    loaded = model()
    texts = ["Mara Vell was", "Tomas Brill, an"]
    ids = [prompt(text)[0].tolist() for text in texts]
    width = min(map(len, ids))
    batch = torch.tensor([row[:width] for row in ids])
    alone = [set(row.tolist()) | protected_ids(TOKENIZER) for row in batch]
    with torch.no_grad():
        whole = loaded.model(batch).logits[:, -1]
        tailored = tailor(loaded, fallback="off")
        shared = loaded.model(batch, logits_to_keep=1).logits[:, -1]
        assert torch.allclose(shared, reference(whole, sorted(alone[0] | alone[1])), atol=1e-5)
        tailored.begin(batch.tolist(), apart=True)
        apart = loaded.model(batch, logits_to_keep=1).logits[:, -1]
    for row, active in enumerate(alone):
        assert torch.allclose(apart[row], reference(whole[row], sorted(active)), atol=1e-5)
    tailored.begin(batch.tolist(), apart=True)
    together = generate(loaded, batch, num_beams=2)
    for row in range(2):
        tailored.begin(batch[row : row + 1].tolist(), apart=True)
        single = generate(loaded, batch[row : row + 1], num_beams=2)[0]
        assert torch.equal(together[row, : len(single)], single)
        assert set(single.tolist()) <= alone[row]


def test_an_exact_batch_does_not_depend_on_its_other_texts():
    loaded = model()
    batch = torch.cat([prompt("Mara Vell was")[:, :4], prompt("Tomas Brill, an")[:, :4]])
    wanted = generate(loaded, batch)
    tailored = tailor(loaded)
    tailored.begin(batch.tolist(), apart=True)
    assert torch.equal(generate(loaded, batch), wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 19), max_size=9), max_size=12), st.integers(0, 8),
    st.booleans(),
)  # fmt: skip
def test_active_rows_are_the_latest_tokens(contexts, most, bias):
    """A slow list of the latest tokens, and their rows, against the matrix that is updated."""
    weight = torch.arange(20.0)[:, None] + torch.tensor([[0.0, 0.5]])
    bias_V = torch.arange(20.0) * 100 if bias else None
    active = ActiveRows(MemoryRows(weight), bias_V, [3, 7], most, CPU)
    latest = []
    for tokens in contexts:
        if not tokens:
            active.reset()
            latest = []
            continue
        active.admit(tokens)
        wanted = list(dict.fromkeys(n for n in tokens if n not in (3, 7)))
        for token in wanted[len(wanted) - most :] if len(wanted) > most else wanted:
            latest = [n for n in latest if n != token] + [token]
        latest = latest[len(latest) - most :] if len(latest) > most else latest
        assert sorted(active.ids.tolist()) == sorted([3, 7, *latest])
        hidden = torch.tensor([[1.0, 2.0]])
        expected = torch.nn.functional.linear(hidden, weight, bias_V)[:, active.ids]
        assert torch.equal(active.outputs(hidden), expected)
        assert all((n in active) == (n in (3, 7, *latest)) for n in range(20))


# ------------------------------------------------------------------------------------ figures


def test_sizes_and_use_are_counted():
    loaded = model()
    tailored = tailor(loaded, SMALL, "static")
    sizes = tailored.sizes()
    assert sizes.active == len(SMALL) and sizes.tokens == len(TOKENIZER)
    assert sizes.whole_bytes == len(TOKENIZER) * 32 * 4
    assert sizes.active_bytes == len(SMALL) * 32 * 4
    assert sizes.operations == len(SMALL) / len(TOKENIZER)
    assert 0 < sizes.reduction < 1 - sizes.operations
    generate(loaded, prompt())
    use = tailored.use
    assert use.steps == 12 and use.active == 12 * len(SMALL)
    assert 0 < use.outside <= use.fallbacks <= use.steps
    use.clear()
    assert use.steps == 0 and use.fallback_rate == 0
    tailored.restore()
    off = tailor(loaded, SMALL, fallback="off").sizes()
    assert off.screen_bytes == 0
    untied = tailor(model(tied=False), SMALL).sizes()
    assert untied.whole_bytes == 2 * sizes.whole_bytes


def test_mistakes_are_explained():
    loaded = model()
    with pytest.raises(LacyError, match=r"E12.*needs a vocabulary"):
        tailor(loaded, mode="static")
    with pytest.raises(LacyError, match=r"E12.*uses no vocabulary"):
        tailor(loaded, SMALL, mode="context")
    with pytest.raises(LacyError, match=r"E12.*fallback"):
        tailor(loaded, fallback=2.0)
    with pytest.raises(LacyError, match="E271"):
        other = ALL["metaspace"]
        tailor(Loaded(llama(other).model, other), SMALL)
    tailor(loaded)
    with pytest.raises(LacyError, match="E275"):
        tailor(loaded)
