"""Inputs of texts that are kept."""

import numpy as np

from lacy.route.features import LengthFeatures
from lacy.route.memory import InputMemory


class Vectors:
    """Features that count how often they read a text."""

    name = "encoder"

    def __init__(self, encoder="one"):
        self.encoder, self.read = encoder, []

    def fit(self, texts):
        return self.matrix(texts)

    def matrix(self, texts):
        self.read += texts
        return np.array([[len(text), len(self.encoder)] for text in texts], float)

    def data(self):
        return {"encoder": self.encoder}

    def arrays(self):
        return {}


def test_a_text_is_read_once_even_by_another_process(tmp_path):
    features = Vectors()
    wrapped = InputMemory(tmp_path / "inputs").wrap(features)
    first = wrapped.fit(["a", "bbb", "a"])
    assert first.tolist() == [[1, 3], [3, 3], [1, 3]]
    assert sorted(features.read) == ["a", "bbb"]
    assert wrapped.matrix(["bbb", "cc"]).tolist() == [[3, 3], [2, 3]]
    later = Vectors()
    again = InputMemory(tmp_path / "inputs").wrap(later)
    assert again.matrix(["cc", "a", "bbb"]).tolist() == [[2, 3], [1, 3], [3, 3]]
    assert later.read == []
    assert (again.name, again.data(), again.arrays()) == ("encoder", {"encoder": "one"}, {})


def test_another_encoder_has_inputs_of_its_own(tmp_path):
    memory = InputMemory(tmp_path / "inputs")
    memory.wrap(Vectors()).matrix(["a"])
    assert memory.wrap(Vectors("other")).matrix(["a"]).tolist() == [[1, 5]]


def test_what_learns_from_texts_is_not_remembered():
    features = LengthFeatures()
    assert InputMemory().wrap(features) is features


def test_no_text_is_stored(tmp_path):
    InputMemory(tmp_path / "inputs").wrap(Vectors()).matrix(["a secret"])
    assert b"secret" not in (tmp_path / "inputs").read_bytes()
