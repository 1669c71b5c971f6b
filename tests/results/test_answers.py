"""Answers survive a kill, and no question is asked twice."""

import multiprocessing
import os
import signal
import threading

import pytest

from lacy.errors import LacyError
from lacy.results import AnswerStore, answer_key


def test_keys_depend_on_content_not_on_order_of_mappings():
    assert answer_key("m", {"a": 1, "b": [2]}) == answer_key("m", {"b": [2], "a": 1})
    assert len({answer_key("a", "b"), answer_key("ab"), answer_key(["a", "b"]), answer_key()}) == 4
    with pytest.raises(TypeError):
        answer_key(object())


def test_only_new_questions_are_asked(tmp_path):
    asked = []

    def ask(batch):
        asked.extend(batch)
        return [{"text": item.upper()} for item in batch]

    path = tmp_path / "deep" / "answers.jsonl"
    with AnswerStore(path) as store:
        found = list(store.answers(["a", "b", "a", "c"], answer_key, ask, batch=2))
    assert [one["text"] for one in found] == ["A", "B", "A", "C"]
    assert asked == ["a", "b", "c"]
    with AnswerStore(path) as store:
        found = list(store.answers(["c", "d", "a"], answer_key, ask, batch=2))
        assert len(store) == 4
    assert [one["text"] for one in found] == ["C", "D", "A"]
    assert asked == ["a", "b", "c", "d"]


def test_answers_read_back_equal_answers_just_given(tmp_path):
    with AnswerStore(tmp_path / "a.jsonl") as store:
        store.put({"k": {"pair": (1, 2), "text": "\ud800é"}})
        now = store.get("k")
    with AnswerStore(tmp_path / "a.jsonl") as store:
        assert store.get("k") == now == {"pair": [1, 2], "text": "\ud800é"}


def test_cut_and_damaged_lines(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    with AnswerStore(path) as store:
        store.put({"one": 1, "two": 2})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"not json\n[]\n" + lines[1][:-3])
    with AnswerStore(path) as store:
        assert store.damaged == 2
        assert "one" in store
        assert "two" not in store
        store.put({"two": 3})
    assert "asked again" in caplog.text
    with AnswerStore(path) as store:
        assert (store.get("one"), store.get("two")) == (1, 3)


def _write_until_killed(path, ready):
    with AnswerStore(path) as store:
        for number in range(5_000):  # a busy machine may kill late; the file stays small
            store.put({str(number): "x" * 2000})
            if number == 50:
                ready.set()
        threading.Event().wait()


def test_a_killed_process_loses_at_most_one_answer(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    path = tmp_path / "a.jsonl"
    process = context.Process(target=_write_until_killed, args=(path, ready))
    process.start()
    assert ready.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with AnswerStore(path) as store:
        assert store.damaged == 0
        assert len(store) >= 51
        assert [str(number) in store for number in range(len(store))] == [True] * len(store)


def test_one_process_at_a_time(tmp_path):
    with AnswerStore(tmp_path / "a.jsonl"), pytest.raises(LacyError) as caught:
        AnswerStore(tmp_path / "a.jsonl")
    assert caught.value.code == "E150"
    AnswerStore(tmp_path / "a.jsonl").close()


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(LacyError) as caught:
        AnswerStore(tmp_path / "a.jsonl")
    assert caught.value.code == "E19"


def test_progress_is_told_the_number_of_answers(tmp_path):
    told = []
    with AnswerStore(tmp_path / "a.jsonl", on_put=told.append) as store:
        list(store.answers("abca", answer_key, lambda batch: [0 for _ in batch], batch=2))
    assert told == [2, 3]


def test_in_memory():
    with AnswerStore() as store:
        assert list(store.answers([1, 1, 2], answer_key, lambda batch: [-b for b in batch])) == [
            -1, -1, -2,
        ]  # fmt: skip
