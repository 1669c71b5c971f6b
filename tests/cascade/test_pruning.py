"""The search for the best candidate against scoring all of them, on tiny random models."""

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import models
from helpers.slow_decoder import CALL, MODELS, random_ids
from lacy.cascade import Engine
from lacy.cascade.pruning import FIRST_TOKENS, CandidateSearch, best_index
from lacy.cascade.rank import rank
from lacy.cascade.sequence import TokenizedCandidate
from lacy.model import Decoder
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Reply


class Backend:
    """Scores with a decoder and counts the candidates that it scores."""

    def __init__(self, decoder):
        self.decoder, self.scored = decoder, 0

    def first_logps(self, sequences, candidates):
        return self.decoder.first_logps(sequences, candidates)

    async def score(self, sequences, candidates, ends):
        self.scored += sum(map(len, candidates))
        return self.decoder.score(sequences, candidates, whole=True, ends=ends)


token = st.one_of(st.integers(0, 2), st.integers(0, CALL - 1))
"""Many candidates begin alike."""

option = st.tuples(
    st.lists(token, min_size=1, max_size=6).map(tuple), st.sampled_from([1.0, 8.0, 5000.0])
)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(option, min_size=1, max_size=40), min_size=1, max_size=3),
    limit=st.sampled_from([-math.inf, -9.0, -3.0, 0.0]),
    name=st.sampled_from(sorted(MODELS)),
)
def test_the_winner_and_its_score_are_those_of_ranking_all(groups, limit, name):
    decoder = Decoder(MODELS[name], call_id=CALL)
    decoder.feed(random_ids(len(groups), len(groups), 9))
    options = [
        [TokenizedCandidate(Candidate("x", alternatives=a), tokens) for tokens, a in group]
        for group in groups
    ]
    limits = [[limit] * len(group) for group in groups]
    backend = Backend(decoder)
    rows = list(range(len(groups)))
    everything = asyncio.run(rank(backend, rows, options))
    assert all(score is not None for scores in everything for score in scores)
    pruned = asyncio.run(rank(backend, rows, options, limits=limits))
    for full, some in zip(everything, pruned, strict=True):
        best = best_index(full)
        for score, same in zip(some, full, strict=True):
            assert score is None or score == pytest.approx(same, abs=1e-4)
        if full[best] >= limit + 1e-3:
            found = best_index(some)
            assert full[found] == pytest.approx(full[best], abs=1e-4)  # ties may round differently
            assert some[found] == pytest.approx(full[best], abs=1e-4)
        elif full[best] < limit - 1e-3:
            found = best_index(some)
            assert some[found] is None or some[found] < limit


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.integers(-6, 0), min_size=1, max_size=30),
    slack=st.lists(st.integers(0, 5), min_size=30, max_size=30),
    limits=st.lists(st.sampled_from([-math.inf, -4.0, -2.0]), min_size=30, max_size=30),
    lengths=st.lists(st.integers(1, 9), min_size=30, max_size=30),
)
def test_any_bounds_give_the_first_of_the_best(scores, slack, limits, lengths):
    """With limits that differ by candidate, and many equal scores."""
    count = len(scores)
    tokens = [(n,) * lengths[n] for n in range(count)]
    bounds = [s + e for s, e in zip(scores, slack[:count], strict=True)]
    search = CandidateSearch(tokens, bounds, limits[:count])
    rounds = 0
    while chosen := search.next():
        assert all(search.scores[n] is None for n in chosen)
        search.add({n: float(scores[n]) for n in chosen})
        rounds += 1
    assert rounds <= 2
    best, found = best_index(scores), best_index(search.scores)
    if scores[best] >= limits[best]:
        assert found == best and search.scores[found] == scores[best]
    else:
        assert search.scores[found] is None or search.scores[found] < limits[found]


def test_without_bounds_everything_is_scored():
    search = CandidateSearch([(1,), (2,)], None, ())
    assert search.next() == [0, 1]
    search.add({0: -1.0, 1: math.nan})
    assert search.next() == [] and best_index(search.scores) == 0


def test_unlikely_candidates_are_not_scored():
    decoder = Decoder(MODELS["llama"], call_id=CALL)
    logits = decoder.feed(random_ids(1, 1, 9))[0, :CALL]
    order = logits.argsort(descending=True).tolist()
    candidates = [[n] for n in order]
    options = [[TokenizedCandidate(Candidate("x"), tuple(tokens)) for tokens in candidates]]
    backend = Backend(decoder)
    scores = asyncio.run(rank(backend, [0], options, limits=[[-math.inf] * len(candidates)]))[0]
    assert backend.scored == FIRST_TOKENS
    assert None not in scores[:FIRST_TOKENS] and set(scores[FIRST_TOKENS:]) == {None}


def test_a_call_that_no_value_fits_needs_no_forward_pass():
    decoder = Decoder(MODELS["llama"], call_id=CALL)
    decoder.feed(random_ids(1, 1, 9))
    options = [[TokenizedCandidate(Candidate("x"), (n, 5)) for n in range(20)]]
    backend = Backend(decoder)
    assert asyncio.run(rank(backend, [0], options, limits=[[1.0] * 20])) == [[None] * 20]
    assert backend.scored == 0


@pytest.mark.parametrize("abstain", [None, -3.0, -30.0])
def test_an_observer_sees_all_scores_and_changes_nothing(abstain):
    loaded = models.llama(models.ALL["byte_level"])
    values = tuple(Candidate(f" {word}") for word in "Ulm Bern Rom Oslo Paris Lima Wien".split())

    class Watching:
        seen = ()

        def decided(self, sequences, logits, decisions):
            pass

        def applied(self, sequence, own_token, outcome):
            if outcome is not None:
                self.seen = (*self.seen, outcome.scores)

    source = ScriptedSource([Reply(values, ranked=True)])
    engine = Engine(loaded, source, "always", abstain=abstain, max_new_tokens=24)
    watched = engine.variant()
    watched.observer = observer = Watching()
    [[same], [answer]] = watched.generate(["Ada lived in"]), engine.generate(["Ada lived in"])
    assert [(s.text, s.reason) for s in same.spans] == [(s.text, s.reason) for s in answer.spans]
    assert observer.seen
    assert all(None not in scores for scores in observer.seen)
