"""Hashed n-grams against a reference that lists and weights them one by one."""

import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.route.grams import GramFeatures, buckets_for

TEXTS = st.lists(st.text(st.sampled_from("ab é.東 \n"), max_size=14), min_size=1, max_size=6)


def listed(text):
    """Return all n-grams of a text; the slow reference."""
    plain = f" {' '.join(text.casefold().replace('é', 'e').split())} "
    parts = [plain[start : start + size] for size in range(2, 6)
             for start in range(len(plain) - size + 1)]  # fmt: skip
    words = list(re.finditer(r"\w+", plain))
    return Counter(
        [("letters", one) for one in parts if " " not in one[1:-1]]
        + [("word", one[0]) for one in words]
        + [("pair", a[0], b[0]) for a, b in pairwise(words)]
    )


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_inputs_are_those_of_listed_grams(texts):
    features = GramFeatures(2**18)
    found = features.fit(texts)
    counts = [listed(text) for text in texts]
    documents = Counter(gram for one in counts for gram in one)
    for row, one in enumerate(counts):
        weights = [
            (1 + math.log(count)) * (math.log((1 + len(texts)) / (1 + documents[gram])) + 1)
            for gram, count in one.items() if documents[gram] >= 2
        ]  # fmt: skip
        length = math.hypot(*weights) or 1.0
        expected = np.sort(np.array(weights) / length)
        # Nothing shares a bucket among so few n-grams; float16 rounds the weights.
        assert np.allclose(np.sort(found[[row]].data), expected, atol=2e-3)
    assert np.allclose(features.matrix(texts).toarray(), found.toarray())


def test_grams_are_named_by_their_bucket():
    features = GramFeatures(2**18)
    text = "A cat’s Hat!"
    plain, places = features.places(text)
    row = features.matrix([text])
    assert sorted(places) == sorted(row.indices.tolist())
    every = {plain[start:end] for where in places.values() for start, end in where}
    assert {"cat", "a cat", " hat!", "hat"} <= every and "t h" not in every


def test_many_routes_get_fewer_buckets():
    assert buckets_for(2, 10_000) == 2**18 and buckets_for(2, 100) == 2**14
    assert all(buckets_for(n, 10_000) * n <= 6_000_000 for n in (2, 40, 150, 1000))
