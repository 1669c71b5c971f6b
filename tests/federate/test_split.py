"""Clients of a folder, and splits of one collection."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.federate import client_folders, split_documents
from lacy.types import Document


def texts(count, topics=3):
    return [Document(f"d{n}", f"text {n}", {"topic": f"t{n % topics}"}) for n in range(count)]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(6, 60), clients=st.integers(1, 6), topics=st.integers(1, 5),
    skew=st.sampled_from(["none", "topic", "dirichlet"]), seed=st.integers(0, 9),
    alpha=st.sampled_from([0.01, 0.5, 100.0]),
)  # fmt: skip
def test_every_document_goes_to_one_client_and_none_is_empty(
    count, clients, topics, skew, seed, alpha
):
    documents = texts(count, topics)
    how = {"skew": skew, "alpha": alpha, "seed": seed}
    parts = split_documents(documents, clients, **how)
    assert list(parts) == [f"client-{n}" for n in range(1, clients + 1)]
    assert all(parts.values())
    assert Counter(d.id for part in parts.values() for d in part) == Counter(
        d.id for d in documents
    )
    assert parts == split_documents(documents, clients, **how)


def topics_of(parts):
    return [Counter(d.meta["topic"] for d in part) for part in parts.values()]


def test_a_split_by_topic_gives_whole_topics_to_clients():
    parts = split_documents(texts(60, topics=6), 3, skew="topic")
    assert all(len(topics) == 2 for topics in topics_of(parts))
    assert all(len(part) == 20 for part in parts.values())


def test_alpha_says_how_equal_the_clients_are():
    def largest(alpha):
        parts = split_documents(texts(600), 4, skew="dirichlet", alpha=alpha)
        return max(max(t.values()) / t.total() for t in topics_of(parts) if t.total() > 20)

    assert largest(1000.0) < 0.4 < 0.8 < largest(0.02)


def test_a_folder_has_a_client_for_each_file_or_folder(tmp_path):
    (tmp_path / "berlin").mkdir()
    (tmp_path / "oslo.jsonl").write_text("")
    (tmp_path / "oslo.txt").write_text("")
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert list(client_folders(tmp_path)) == ["berlin", "oslo", "oslo.txt"]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda folder: client_folders(folder / "none"), "E13"),
        (lambda folder: client_folders(folder), "E330"),
        (lambda folder: split_documents(texts(3), 4), "E331"),
        (lambda folder: split_documents(texts(3), 0), "E12"),
        (lambda folder: split_documents(texts(3), 2, skew="words"), "E12"),
        (lambda folder: split_documents(texts(3), 2, alpha=0), "E12"),
        (lambda folder: split_documents(texts(3), 2, skew="topic", field="x"), "E332"),
    ],
)
def test_mistakes_are_explained(call, code, tmp_path):
    with pytest.raises(LacyError) as caught:
        call(tmp_path)
    assert caught.value.code == code


def test_a_file_is_no_folder_of_clients(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(LacyError, match=r"E330.*--data FILE"):
        client_folders(tmp_path / "a.jsonl")
