"""The decoder against forward passes without a cache, on real (tiny, random) architectures."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.slow_decoder import (
    CALL,
    CONTEXT,
    MODELS,
    close,
    llama,
    random_ids,
    slow_next,
    slow_score,
)
from lacy.errors import LacyError
from lacy.model import decode
from lacy.model.decode import Decoder
from lacy.model.recompute import RecomputingDecoder
from lacy.model.trees import NODES


@pytest.fixture(params=sorted(MODELS))
def model(request):
    return MODELS[request.param]


def test_feed_step_keep_and_rewind_equal_a_pass_without_cache(model):
    ids = random_ids(1, 4, 20)
    decoder = Decoder(model, call_id=CALL)
    logits = decoder.feed([row[:7] for row in ids])
    close(logits, torch.stack([slow_next(model, row[:7]) for row in ids]))
    logits = decoder.step([row[7] for row in ids])
    close(logits, torch.stack([slow_next(model, row[:8]) for row in ids]))
    decoder.keep([3, 1])
    kept = [ids[3], ids[1]]
    logits = decoder.feed([row[8:11] for row in kept])
    close(logits, torch.stack([slow_next(model, row[:11]) for row in kept]))
    decoder.rewind(4)
    assert decoder.tokens_BT == [row[:7] for row in kept] and decoder.length == 7
    logits = decoder.feed([row[12:15] for row in kept])
    close(logits, torch.stack([slow_next(model, row[:7] + row[12:15]) for row in kept]))
    decoder.keep([])
    assert decoder.rows == 0 and decoder.length == 0


@pytest.fixture(params=["trees", "rows"])
def shape(request, monkeypatch):
    """How candidates go through a model: as trees, or as one row each."""
    if request.param == "rows":
        monkeypatch.setattr(decode, "takes_trees", lambda model: False)
    return request.param


@settings(
    max_examples=30, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the same for all examples
)  # fmt: skip
@given(data=st.data(), name=st.sampled_from(sorted(MODELS)), back=st.sampled_from([0, 0, 1, 2]))
def test_score_equals_the_slow_likelihood_and_leaves_the_cache(shape, data, name, back):
    model = MODELS[name]
    rows = data.draw(st.integers(1, 4))
    length = data.draw(st.integers(back + 1, 12))
    token = st.one_of(st.integers(0, 2), st.integers(0, CALL - 1))  # many begin alike
    candidates = data.draw(
        st.lists(
            st.lists(st.lists(token, min_size=1, max_size=6), max_size=6),
            min_size=rows, max_size=rows,
        )
    )  # fmt: skip
    cells = data.draw(st.sampled_from([1, 40, 65_536]))
    ids = random_ids(length, rows, length)
    decoder = Decoder(model, call_id=CALL, score_cells=cells)
    before = decoder.feed(ids).clone()
    decoder.rewind(back)
    scores = decoder.score(range(rows), candidates)
    for row, group, got in zip(ids, candidates, scores, strict=True):
        close(got, [slow_score(model, row[: length - back], c) for c in group])
    assert decoder.length == length - back
    decoder.rewind(1) if length - back > 1 else None
    if length > 1:
        close(decoder.feed([row[decoder.length :] for row in ids]), before)


def test_score_counts_call_only_for_models_without_it(model):
    ids = random_ids(3, 1, 6)
    decoder = Decoder(model, call_id=None)
    decoder.feed(ids)
    close(decoder.score([0], [[[4, 5]]])[0][0], slow_score(model, ids[0], [4, 5], call_id=None))
    with_call = Decoder(model, call_id=CALL)
    with_call.feed(ids)
    total = torch.tensor(with_call.score([0], [[[t] for t in range(CALL)]])[0]).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-4)  # all of it on tokens other than CALL


def spy(model, seen):
    """Record the arguments of all calls of a model from now on."""
    return model.register_forward_pre_hook(
        lambda module, args, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )


def test_score_needs_one_pass_and_none_for_single_tokens(model, shape):
    decoder = Decoder(model, call_id=CALL)
    decoder.feed(random_ids(5, 3, 9))
    passes = []
    hook = spy(model, passes)
    decoder.score([0, 2], [[[1], [2]], [[3]]])
    assert not passes
    decoder.score([0, 1, 2], [[[1, 2], [2]], [[3, 4, 5, 6]], []])
    assert len(passes) == 1
    decoder.score([1], [[[1, 2, 3], [1, 2, 4], [1, 2, 5, 6]]])
    assert passes[1] == ((1, 3) if shape == "trees" else (3, 3))  # 1 2 5, read once
    hook.remove()


def test_memory_of_scoring_is_bounded(model, shape):
    decoder = Decoder(model, call_id=CALL, score_cells=60)
    decoder.feed(random_ids(5, 2, 10))
    seen = []
    hook = spy(model, seen)
    decoder.score([0, 1], [[[n, 2, 3] for n in range(40)], [[n, 4] for n in range(40)]])
    hook.remove()
    assert len(seen) > 2 and max(rows * (10 + width) for rows, width in seen) <= 60


def test_small_trees_are_not_padded_to_large_ones(model):
    decoder = Decoder(model, call_id=CALL)
    decoder.feed(random_ids(7, 6, 10))
    many = [[n, m, 5] for n in range(6) for m in range(8)]
    groups = [[[1, 2], [3, 4]], many, [[5, 6]], [[7, 8, 9]], [[1, 1]], [[2, 2], [2, 3]]]
    seen = []
    hook = spy(model, seen)
    scores = decoder.score(range(6), groups)
    hook.remove()
    assert sorted(rows for rows, _ in seen) == [1, 5]
    assert max(width for rows, width in seen if rows == 5) < 5
    for row, group, got in zip(decoder.tokens_BT, groups, scores, strict=True):
        close(got, [slow_score(model, row, candidate) for candidate in group])


def test_a_tree_has_a_limit(model):
    decoder = Decoder(model, call_id=CALL)
    decoder.feed(random_ids(6, 1, 10))
    seen = []
    hook = spy(model, seen)
    candidates = [[n, m, 5] for n in range(30) for m in range(15)]
    scores = decoder.score([0], [candidates])[0]
    hook.remove()
    assert len(seen) > 1 and max(width for _, width in seen) <= NODES
    for place in (0, 100, 449):
        close(scores[place], slow_score(model, decoder.tokens_BT[0], candidates[place]))


def test_too_long_is_an_error_before_anything_is_computed(model):
    decoder = Decoder(model, call_id=CALL)
    with pytest.raises(LacyError, match="E60"):
        decoder.feed(random_ids(1, 1, CONTEXT + 1))
    assert decoder.length == 0
    decoder.feed(random_ids(1, 2, CONTEXT - 1))
    assert decoder.length == CONTEXT - 1
    with pytest.raises(LacyError, match="E60"):
        decoder.score([0], [[[1, 2]]])
    decoder.step([1, 2])
    with pytest.raises(LacyError, match="E60"):
        decoder.step([1, 2])
    assert decoder.length == CONTEXT


def test_misuse_is_refused(model):
    decoder = Decoder(model, call_id=CALL)
    with pytest.raises(ValueError, match="same number"):
        decoder.feed([[1, 2], [1]])
    decoder.feed([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="decoder has 2"):
        decoder.step([1])
    with pytest.raises(ValueError, match="empty candidate"):
        decoder.score([0], [[[]]])
    with pytest.raises(ValueError, match="cannot remove"):
        decoder.rewind(2)


@torch.no_grad()
def test_a_whole_candidate_includes_the_probability_that_no_call_follows(shape):
    model = llama()
    decoder = Decoder(model, call_id=CALL)
    ids = [[1, 2, 3], [4, 5, 6]]
    decoder.feed(ids)
    groups = [[[7], [8, 9, 7]], [[3, 2]]]
    plain, whole = decoder.score([0, 1], groups), decoder.score([0, 1], groups, whole=True)
    for row, group, before, after in zip(ids, groups, plain, whole, strict=True):
        for candidate, short, long in zip(group, before, after, strict=True):
            logits = model(input_ids=torch.tensor([row + candidate])).logits[0, -1].double()
            ends = torch.log1p(-torch.softmax(logits, -1)[CALL])
            assert long == pytest.approx(short + float(ends), abs=1e-4)
            some = decoder.score([ids.index(row)], [[candidate]], whole=True, ends=[5, 9])[0][0]
            follow = torch.softmax(logits, -1)[[5, 9]].sum().log()
            assert some == pytest.approx(short + float(follow), abs=1e-4)
    decoder.step([1, 1])  # and again without the logits of the last step
    decoder.rewind(1)
    assert decoder.score([0, 1], groups, whole=True) == [pytest.approx(g, abs=1e-4) for g in whole]


@torch.no_grad()
def test_a_separate_gate_takes_no_probability_from_the_end_of_a_candidate(shape):
    model = llama()
    model.lm_head.weight[CALL] *= -20  # nearly all probability in a softmax at some places
    ids, groups, ends = [[1, 2, 3], [4, 5, 6]], [[[7], [8, 9, 7]], [[3, 2]]], [5, 9, CALL]
    for kind in (Decoder, RecomputingDecoder):
        model.config.lacy_gate = "sigmoid"
        decoder = kind(model, call_id=CALL)
        decoder.read(ids)
        plain = [[slow_score(model, row, c) for c in g] for row, g in zip(ids, groups, strict=True)]
        for score in (decoder.score([0, 1], groups), decoder.score([0, 1], groups, whole=True)):
            assert score == [pytest.approx(group, abs=1e-4) for group in plain]
        found = decoder.score([0, 1], groups, whole=True, ends=ends)
        for row, group, before, after in zip(ids, groups, plain, found, strict=True):
            for candidate, short, long in zip(group, before, after, strict=True):
                logits = slow_next(model, row + candidate)[:CALL].double()
                follow = torch.softmax(logits, -1)[[5, 9]].sum().log()
                assert long == pytest.approx(short + float(follow), abs=1e-4)
        model.config.lacy_gate = "softmax"  # there it does
        lower = decoder.score([0, 1], groups, whole=True)
        assert sum(map(sum, lower)) < sum(map(sum, plain)) - 1
