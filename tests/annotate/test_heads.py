"""Entities from a tagger's probabilities, and the way of a torch network into a spaCy pipeline."""

import sys
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from thinc.api import NumpyOps

from lacy.annotate import Rules, SpacyAnnotator
from lacy.annotate.heads import head, probabilities, set_entities, use_numpy_products
from lacy.types import Mark

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from pipeline_net import FEATURES, UPOS, Network, Shape, table_rows, to_spacy

VOCAB = spacy.blank("en").vocab
TYPES = ["GPE", "ORG"]
LABELS = {
    "morphologizer": [f"POS={pos}" for pos in UPOS],
    "entities": [*(f"B-{t}" for t in TYPES), *(f"I-{t}" for t in TYPES), "O"],
    "facts": ["B-FACT", "I-FACT", "O"],
}
TEXTS = ["Ann Lee met Red Hen Ltd. in 1920.", "Bath", "She isn't from “Lyon”; he is."]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return Network(Shape(width=16, depth=2, pieces=2, rows=(50, 20, 30, 30)), LABELS).eval()


def slow_entities(scores, types):
    """Decide token by token, as the docstring of ``set_entities`` says."""
    spans = []
    before = None
    for place, row in enumerate(scores.tolist()):
        begin, inner = row[: len(types)], row[len(types) : 2 * len(types)]
        inside = 1 - row[-1] >= 0.5
        if inside and (before is None or sum(begin) > inner[before]):
            spans.append([place, place, np.zeros(len(types))])
        if inside:
            spans[-1][1] = place + 1
            spans[-1][2] += np.array(begin) + np.array(inner)
        before = int(np.argmax(np.add(begin, inner))) if inside else None
    return [(start, end, types[int(mass.argmax())]) for start, end, mass in spans]


@given(st.integers(0, 12), st.integers(0, 10_000))
def test_entities_equal_a_slow_reading_of_the_probabilities(length, seed):
    raw = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), size=length).astype(np.float32)
    doc = Doc(VOCAB, [f"w{n}" for n in range(length)])
    set_entities(doc, raw, TYPES)
    assert [(e.start, e.end, e.label_) for e in doc.ents] == slow_entities(raw, TYPES)


def test_spacy_computes_what_the_torch_network_does(network):
    nlp = to_spacy(network)
    docs = [nlp.make_doc(text) for text in TEXTS]
    features = np.concatenate(
        [doc.to_array(list(FEATURES)).astype(np.uint64).reshape(-1, 4) for doc in docs]
    )
    real = np.concatenate([np.repeat([False, True], [2, len(doc)]) for doc in docs] + [[False] * 2])
    with torch.no_grad():
        rows = table_rows(features, network.shape)
        encoded = network(rows, torch.arange(len(rows)), torch.from_numpy(real))
        for name, labels in LABELS.items():
            expected = network.heads[name](encoded).softmax(-1).numpy()
            with nlp.select_pipes(enable="tok2vec"):
                parsed = list(nlp.pipe(docs))
            found = np.concatenate(probabilities(nlp.get_pipe(name), parsed))
            order = [labels.index(label) for label in nlp.get_pipe(name).labels]
            np.testing.assert_allclose(found, expected[:, order], atol=1e-5)


def test_an_annotator_uses_both_heads(network, tmp_path):
    nlp = to_spacy(network)
    assert head(nlp, "entities") is not None and head(nlp, "morphologizer") is None
    nlp.to_disk(tmp_path / "p")
    rules = Rules(entity_types=tuple(TYPES), content=False, learned=True).only("entities")
    annotator = SpacyAnnotator(tmp_path / "p", rules)
    [(doc, scores)] = list(annotator.parse([TEXTS[0]]))
    assert scores is None and annotator.inactive == {}
    marked = annotator.annotate([TEXTS[0]])[0]
    assert all(isinstance(mark, Mark) and mark.label in TYPES for mark in marked)
    both = SpacyAnnotator(tmp_path / "p", Rules(learned=True))
    [(again, scores)] = list(both.parse([TEXTS[0]]))
    assert scores.shape == (len(again), 3)
    assert [e.label_ for e in again.ents] == [e.label_ for e in doc.ents]


def test_other_taggers_are_no_heads():
    nlp = spacy.blank("en")
    tagger = nlp.add_pipe("tagger", "entities")
    for label in ("NN", "O"):
        tagger.add_label(label)
    assert head(nlp, "entities") is None and head(nlp, "facts") is None
    assert set(SpacyAnnotator(nlp).inactive) >= {"entities"}


def test_numpy_s_products_give_the_same_scores(network):
    nlp = to_spacy(network)
    before = [doc.tensor.copy() for doc in nlp.pipe(TEXTS)]
    use_numpy_products(nlp)
    model = nlp.get_pipe("tok2vec").model
    assert all(isinstance(node.ops, NumpyOps) and not node.ops.use_blis for node in model.walk())
    for doc, expected in zip(nlp.pipe(TEXTS), before, strict=True):
        np.testing.assert_allclose(doc.tensor, expected, atol=1e-5)
