"""Texts of different lengths that join and leave, compared with forward passes of each."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import slow_decoder as slow
from lacy.errors import LacyError
from lacy.model.decode import Decoder

tokens = st.integers(0, slow.CALL - 1)
texts = st.lists(tokens, min_size=1, max_size=9)


def check(decoder, model):
    for ids, last_V in zip(decoder.tokens_BT, decoder.last_BV, strict=True):
        torch.testing.assert_close(last_V, slow.slow_next(model, ids), atol=2e-4, rtol=1e-4)
    if decoder.rows:
        assert decoder._cache.get_seq_length() == decoder.length


def reading(model, ids):
    decoder = Decoder(model, call_id=slow.CALL)
    decoder.feed([ids])
    return decoder


@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(slow.MODELS)))
def test_every_text_equals_itself_alone_whatever_joins_and_leaves(data, name):
    model = slow.MODELS[name]
    decoder, aside, expected = Decoder(model, call_id=slow.CALL), [], []
    for _ in range(data.draw(st.integers(1, 7))):
        move = data.draw(st.sampled_from(["join", "feed", "read", "keep", "aside", "back"]))
        if move == "join":
            new = data.draw(st.lists(texts, min_size=1, max_size=3))
            decoder.join([reading(model, ids) for ids in new])
            expected += [list(ids) for ids in new]
        elif move == "feed" and decoder.rows:
            fed = [data.draw(tokens) for _ in expected]
            decoder.step(fed)
            for ids, token in zip(expected, fed, strict=True):
                ids.append(token)
        elif move == "read":
            some = {"min_size": len(expected), "max_size": len(expected)} if expected else {}
            new = data.draw(st.lists(texts, **{"min_size": 1, "max_size": 3, **some}))
            decoder.read(new)
            expected = [old + ids for old, ids in zip(expected or [[]] * 3, new, strict=False)]
        elif move == "keep" and decoder.rows:
            rows = data.draw(st.lists(st.integers(0, decoder.rows - 1), max_size=3))
            decoder.keep(rows)
            expected = [list(expected[row]) for row in rows]
        elif move == "aside" and decoder.rows:
            rows = data.draw(st.sets(st.integers(0, decoder.rows - 1), min_size=1))
            left = [n for n in range(decoder.rows) if n not in rows]
            aside.append((decoder.part(sorted(rows)), [expected[n] for n in sorted(rows)]))
            decoder.keep(left)
            expected = [expected[n] for n in left]
        elif move == "back" and aside:
            part, ids = aside.pop()
            check(part, model)
            decoder.join([part])
            expected += ids
        assert decoder.tokens_BT == expected
        if decoder.rows:
            check(decoder, model)


@pytest.mark.parametrize("name", sorted(slow.MODELS))
def test_rewound_texts_can_be_joined_and_continued(name):
    model = slow.MODELS[name]
    texts_B = [slow.random_ids(n, 1, length)[0] for n, length in enumerate((9, 4, 7))]
    decoders = [reading(model, ids) for ids in texts_B]
    for decoder in decoders:
        decoder.rewind(2)
    decoder = decoders[0]
    decoder.join(decoders[1:])
    decoder.read([[5, 6, 7], [8], [9, 10]])
    tails = ([5, 6, 7], [8], [9, 10])
    assert decoder.tokens_BT == [ids[:-2] + tail for ids, tail in zip(texts_B, tails, strict=True)]
    check(decoder, model)
    too_much = [[5] * (slow.CONTEXT - decoder.length + 1), [6], [7]]
    with pytest.raises(LacyError, match="E60"):
        decoder.read(too_much)
    check(decoder, model)


@pytest.mark.parametrize("back", [0, 1])
@settings(max_examples=20, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(slow.MODELS)))
def test_candidates_of_texts_of_any_length(back, data, name):
    model = slow.MODELS[name]
    texts_B = data.draw(st.lists(st.lists(tokens, min_size=2, max_size=9), min_size=1, max_size=4))
    decoder = Decoder(model, call_id=slow.CALL)
    decoder.join([reading(model, ids) for ids in texts_B])
    rows = data.draw(st.lists(st.integers(0, len(texts_B) - 1), min_size=1, max_size=3))
    groups = [data.draw(st.lists(texts, min_size=1, max_size=3)) for _ in rows]
    decoder.rewind(back)
    found = decoder.score(rows, groups)
    for row, group, scores in zip(rows, groups, found, strict=True):
        before = texts_B[row][: len(texts_B[row]) - back]
        expected = [slow.slow_score(model, before, candidate) for candidate in group]
        assert scores == pytest.approx(expected, abs=2e-3)
    decoder.feed([[1]] * len(texts_B))
    check(decoder, model)


@pytest.mark.parametrize("name", sorted(slow.MODELS))
def test_a_short_text_s_long_candidate_beside_a_text_at_the_end_of_the_context(name):
    model = slow.MODELS[name]
    long, short = slow.random_ids(0, 1, slow.CONTEXT - 1)[0], [3, 4]
    decoder = Decoder(model, call_id=slow.CALL)
    decoder.join([reading(model, long), reading(model, short)])
    wide = slow.random_ids(1, 1, 12)[0]
    found = decoder.score([0, 1], [[[5]], [wide]], whole=True)
    alone = reading(model, short).score([0], [[wide]], whole=True)
    assert found[1] == pytest.approx(alone[0], abs=2e-3)
    with pytest.raises(LacyError, match="E60"):
        decoder.score([0], [[[5, 6]]])
    with pytest.raises(ValueError, match="cannot remove"):
        decoder.rewind(2)
