"""The network: facts attend to cached windows as if both were computed together."""

import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save

from lacy.encoder import EncoderShape, dequantised, quantised
from lacy.judges.cache import SizedCache
from lacy.judges.inputs import FactInput, fact_batch
from lacy.judges.network import FactEncoder
from lacy.judges.pages import WINDOW
from lacy.judges.scoring import FactScorer
from lacy.judges.weights import load_encoders, packed_weights

SHAPE = EncoderShape(layers=3, width=32, heads=4, inner=48, vocabulary=200, positions=128)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return FactEncoder(SHAPE).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def material():
    rng = np.random.default_rng(0)
    windows = [
        tuple(int(i) for i in rng.integers(1, 200, length)) for length in (100, 12, 57, 99, 3)
    ]
    facts = []
    for length in (3, 9, 17, 9, 30):
        ids = tuple(int(i) for i in rng.integers(1, 200, length))
        flags = tuple(int(i) for i in rng.integers(0, 6, length))
        chosen = tuple(int(i) for i in rng.permutation(5)[: rng.integers(1, 4)])
        facts.append(FactInput(ids, flags, chosen))
    return facts, windows


def slow_logit(encoder, fact, windows):
    """Score one fact token by token, without padding, masks or caches."""

    def attend(layer, states, keys, values):
        q = layer.query(states).view(-1, SHAPE.heads, SHAPE.width // SHAPE.heads)
        k, v = (x.view(-1, SHAPE.heads, SHAPE.width // SHAPE.heads) for x in (keys, values))
        mixed = []
        for head in range(SHAPE.heads):
            scores = q[:, head] @ k[:, head].T / (SHAPE.width // SHAPE.heads) ** 0.5
            mixed.append(torch.softmax(scores, -1) @ v[:, head])
        states = layer.norm(states + layer.out(torch.cat(mixed, 1)))
        inner = torch.nn.functional.gelu(layer.up(states))
        return layer.last_norm(states + layer.down(inner))

    def embed(ids, kind, flags=None):
        states = encoder.words.weight[list(ids)] + encoder.positions.weight[: len(ids)]
        states = states + encoder.kinds.weight[kind]
        return encoder.norm(states if flags is None else states + encoder.flags.weight[list(flags)])

    pages = [embed(windows[window], 0) for window in fact.windows]
    own = embed(fact.ids, 1, fact.flags)
    for layer in encoder.layers:
        keys = torch.cat([layer.key(page) for page in pages] + [layer.key(own)])
        values = torch.cat([layer.value(page) for page in pages] + [layer.value(own)])
        own = attend(layer, own, keys, values)
        pages = [attend(layer, page, layer.key(page), layer.value(page)) for page in pages]
    pooled = torch.tanh(encoder.head(torch.cat([own[0], own.mean(0)])))
    return float(encoder.score(pooled))


def test_cached_scores_equal_a_slow_reference(encoder, material):
    facts, windows = material
    want = [slow_logit(encoder, fact, windows) for fact in facts]
    scorer = FactScorer(encoder, encoder)
    for _ in range(2):  # without and with encoded windows
        assert scorer.logits(facts, windows) == pytest.approx(want, abs=1e-5)
    with torch.inference_mode():
        together = encoder(fact_batch(facts, windows)).numpy()
    assert together == pytest.approx(want, abs=1e-5)


def test_company_and_order_do_not_matter(encoder, material):
    facts, windows = material
    scorer = FactScorer(encoder, encoder)
    together = scorer.logits(facts, windows)
    assert scorer.logits(facts[::-1], windows)[::-1] == pytest.approx(together, abs=0)
    alone = [scorer.logits([fact], windows)[0] for fact in facts]
    assert alone == pytest.approx(together, abs=1e-5)


def test_one_thread_and_several_agree(encoder, material):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(FactScorer(encoder, encoder).logits(*material))
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_small_cache_changes_nothing(encoder, material):
    window_mb = SHAPE.layers * 2 * WINDOW * SHAPE.width * 4 / 1e6
    large, small, none = (FactScorer(encoder, encoder, mb) for mb in (100, 2.5 * window_mb, 0))
    want = large.logits(*material)
    for scorer in (small, none):
        assert np.array_equal(scorer.logits(*material), want)
    assert (len(small.cache), len(none.cache)) == (2, 0)
    assert small.cache.used <= 2.5 * window_mb * 1e6


def test_a_cache_drops_what_was_not_used_longest():
    cache = SizedCache(10, len)
    for key in ("aaaa", "bbbb"):
        cache.get(key, lambda key=key: key)
    cache.get("aaaa", pytest.fail)
    cache.get("cccc", lambda: "cccc")
    assert cache.get("aaaa", lambda: "made again") == "aaaa"
    assert cache.get("bbbb", lambda: "made") == "made"
    assert cache.get("long", lambda: "x" * 11) == "x" * 11
    assert cache.used <= 10 and len(cache) == 2


def test_threads_share_a_cache():
    cache = SizedCache(50, lambda value: 1)
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for key in rng.integers(0, 200, 2_000).tolist():
            if cache.get(key, lambda key=key: key * 2) != key * 2:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and cache.used == len(cache) == 50


# ---------------------------------------------------------------------------------- weights


def test_two_networks_come_back_from_one_file(encoder, material):
    windows = FactEncoder(SHAPE)
    windows.load_state_dict(dequantised(quantised(encoder.state_dict())))
    facts = FactEncoder(SHAPE).eval()
    facts.load_state_dict(windows.state_dict())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in facts.layers:
            for part in (layer.query, layer.up, layer.down):
                rows, columns = part.weight.shape
                left = torch.randn(rows, 2, generator=generator)
                part.weight += 0.1 * left @ torch.randn(2, columns, generator=generator)
        facts.score.bias += 0.5
    data = save(packed_weights(facts, windows.eval(), rank=2))
    again_facts, again_windows = load_encoders(data, SHAPE)
    want = FactScorer(facts, windows).logits(*material)
    assert FactScorer(again_facts, again_windows).logits(*material) == pytest.approx(want, abs=0.02)
    plain = FactScorer(windows, windows).logits(*material)
    assert np.abs(want - plain).max() > 0.1  # the difference between the networks matters
