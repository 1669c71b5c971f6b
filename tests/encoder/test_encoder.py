"""The encoder computes what BERT computes; its weights and tokens come back."""

import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers.encoders import write_bert
from lacy.encoder import (
    EncoderBody,
    EncoderShape,
    PieceReader,
    body_of,
    dequantised,
    encoder_folder,
    load_bert,
    mean_states,
    quantised,
    shape_of_bert,
    text_vectors,
)
from lacy.encoder.texts import by_length
from lacy.errors import LacyError

SHAPE = EncoderShape(layers=3, width=32, heads=4, inner=48, vocabulary=20, positions=24)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a tiny BERT of random weights, and the model."""
    folder = tmp_path_factory.mktemp("bert")
    return folder, write_bert(folder)


def test_states_equal_those_of_bert(bert):
    folder, model = bert
    body = body_of(folder)
    assert shape_of_bert(folder) == SHAPE
    ids = torch.randint(1, 20, (4, 11))
    for row, length in enumerate((11, 3, 7, 1)):
        ids[row, length:] = 0
    with torch.inference_mode():
        want = model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
        for kind in (0, 1, torch.randint(0, 2, ids.shape)):  # both kinds start as BERT's first
            assert torch.allclose(body.states(ids, kind)[ids != 0], want[ids != 0], atol=1e-5)


def test_chosen_layers_are_taken(bert):
    folder, _ = bert
    body = EncoderBody(EncoderShape(**{**asdict(SHAPE), "layers": 2, "positions": 10}))
    load_bert(body, folder, layers=(0, 2))
    whole = body_of(folder)
    assert torch.equal(body.layers[1].up.weight, whole.layers[2].up.weight)
    assert torch.equal(body.positions.weight, whole.positions.weight[:10])


def test_vectors_do_not_depend_on_the_batch(bert):
    folder, model = bert
    body, reader = body_of(folder), PieceReader.open(folder, limit=12)
    texts = ["the cat sat on the mat.", "", "Dogs walk", "how to run, how to walk, a " * 9, "cat"]
    found = text_vectors(body, reader, texts, batch=2)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([reader.ids([text])[0]])
        assert ids.shape[1] <= 12 and ids[0, 0] == reader.cls and ids[0, -1] == reader.sep
        with torch.inference_mode():
            mean = model(input_ids=ids).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.integers(1, 128), max_size=60), st.integers(1, 9))
def test_batches_contain_every_text_once_with_little_padding(lengths, batch):
    seen = []
    for rows, ids_NT in by_length([[7] * length for length in lengths], batch):
        seen += rows
        own = [lengths[row] for row in rows]
        assert len(rows) <= batch and ids_NT.shape == (len(rows), max(own))
        assert max(own) <= 1.25 * min(own) + 2
        assert (ids_NT != 0).sum(1).tolist() == own
    assert sorted(seen) == list(range(len(lengths)))


def test_odd_text_is_read(bert):
    reader = PieceReader.open(bert[0], limit=8)
    for text in ("\ud800 cat", "x" * 100_000, "\x00", "猫"):
        assert 2 <= len(reader.ids([text])[0]) <= 8


def test_mean_states_ignores_padding():
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert mean_states(states, torch.tensor([[5, 6, 0]])).item() == 2.0
    assert mean_states(states, torch.tensor([[0, 0, 0]])).item() == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**31), st.floats(1e-6, 1e4))
def test_quantised_weights_are_within_half_a_step(rows, columns, seed, size):
    matrix = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    stored = quantised({"m": matrix, "v": matrix[0]})
    again = dequantised(stored)
    assert stored["m"].dtype == torch.int8 and torch.equal(again["v"], matrix[0])
    step = matrix.abs().amax(1, keepdim=True) / 127
    assert bool(((again["m"] - matrix).abs() <= step * 0.5001 + 1e-7).all())


def test_quantised_weights_fit_their_network():
    body = EncoderBody(SHAPE)
    again = EncoderBody(SHAPE)
    again.load_state_dict(dequantised(quantised(body.state_dict())))


def test_what_is_no_encoder_is_an_error(bert, tmp_path):
    with pytest.raises(LacyError, match=r"E345.*neither a folder"):
        encoder_folder("no_such_package")
    for open_one in (shape_of_bert, PieceReader.open):
        with pytest.raises(LacyError, match="E345"):
            open_one(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(LacyError, match=r"E345.*TypeError"):
        shape_of_bert(tmp_path)
    with pytest.raises(LacyError, match=r"E345.*3 layers, 4 are wanted"):
        shape_of_bert(bert[0], layers=4)
    with pytest.raises(LacyError, match="E345"):
        load_bert(EncoderBody(SHAPE), tmp_path)
    save_file({"words": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(LacyError, match=r"E345.*KeyError"):
        load_bert(EncoderBody(SHAPE), tmp_path)
    assert load_file(bert[0] / "model.safetensors")  # the fixture itself is sound


def test_a_package_is_found_by_its_name(tmp_path, monkeypatch):
    inside = tmp_path / "some_minilm" / "model"
    inside.mkdir(parents=True)
    (tmp_path / "some_minilm" / "__init__.py").write_text("raise RuntimeError('not imported')")
    save_file({"words": torch.zeros(2)}, inside / "model.safetensors")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert encoder_folder("some_minilm") == inside
    assert encoder_folder(inside) == inside
