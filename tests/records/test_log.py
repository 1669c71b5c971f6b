"""Records are written in the background: bounded, private, and never waited for."""

import json
import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.records import SPANS, answer, verdict
from lacy.errors import LacyError
from lacy.records import RecordLog, read_records
from lacy.records.format import from_line, to_line


def lines(folder):
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def test_what_is_kept_without_texts(kept):
    folder = kept(answer(texts=False), texts=False)
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    # nothing of the prompt, of generated text, of reasons, or of the user's spelling of a name
    for secret in ("Geheim", "born", "1900", "Marra", "margin 3"):
        assert secret.encode() not in raw
    [line] = lines(folder)
    assert line["prompt"] is None and line["subject"] is None
    assert line["spans"][0] == {"speaker": "slm", "characters": 12, "tokens": 3}
    assert line["spans"][1] == {
        "speaker": "book", "characters": 4, "tokens": 1, "asked": True, "relation": "birthplace",
        "subject": "Mara", "evidence": "Mara · birthplace · Ulm (book", "score": -0.2,
        "margin": 3.0,
    }  # fmt: skip
    assert line["spans"][2]["missing"] == "not found"


def test_what_is_kept_with_texts(kept):
    folder = kept(answer(), verdict(start=23, end=33, correct="4 May"))
    first, second = lines(folder)
    assert first["prompt"] == "Geheim Mara"
    assert "".join(span["text"] for span in first["spans"]) == "".join(s.text for s in SPANS)
    assert second["correct"] == "4 May"
    assert "reason" not in first["spans"][2]


def test_only_the_owner_can_read_records(kept):
    folder = kept(answer())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.iterdir() if path.suffix == ".jsonl"]
    assert files and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)


def test_files_and_their_sum_are_bounded(tmp_path):
    folder, size = tmp_path / "logs", len(to_line(answer(100)))
    bounds = {"file_bytes": 3 * size, "total_bytes": 10 * size}
    for start in range(0, 60, 20):  # also over several processes
        with RecordLog(folder, texts=True, **bounds) as log:
            for number in range(start, start + 20):
                assert log.add(answer(number))
    sizes = [path.stat().st_size for path in folder.glob("*.jsonl")]
    assert max(sizes) <= 3 * size and sum(sizes) <= 10 * size
    numbers = [line["id"] for line in lines(folder)]
    assert numbers == [f"cmpl-{n}" for n in range(60 - len(numbers), 60)] and len(numbers) >= 6


def test_a_record_that_is_too_long_is_lost_and_others_are_kept(tmp_path):
    with RecordLog(tmp_path, texts=True, file_bytes=2000, total_bytes=4000) as log:
        log.add(answer(1, prompt="x" * 10_000))
        log.add(answer(2))
    assert (log.kept, log.lost) == (1, 1) and lines(tmp_path)[0]["id"] == "cmpl-2"
    assert log.characters("cmpl-1", 0) is None


def test_a_full_queue_loses_records_and_never_waits(tmp_path, monkeypatch, caplog):
    go, real = threading.Event(), os.write

    def slow(handle, data):
        go.wait(60)
        return real(handle, data)

    log = RecordLog(tmp_path, waiting=4)
    monkeypatch.setattr("lacy.records.log.os.write", slow)
    added = [log.add(answer(n)) for n in range(20)]
    assert sum(added) <= 5 and not added[-1]
    assert log.characters("cmpl-0", 0) and log.characters("cmpl-19", 0) is None
    assert len([r for r in caplog.records if "too slow" in r.message]) == 1
    go.set()
    log.close()
    assert log.kept == sum(added) and log.lost == 20 - sum(added)


FULL = """
import resource, signal, sys, time
sys.path[:0] = [{tests!r}]
from lacy.records import RecordLog
import lacy.records.log as module
from helpers.records import answer

module.RETRY_SECONDS = 0.0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
log = RecordLog(sys.argv[1], texts=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
for n in range(5):
    assert log.add(answer(n))
while log.kept + log.lost < 5:
    time.sleep(0.01)
print("full", log.kept, log.lost, bool(log.problem), log.characters("cmpl-4", 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert log.add(answer(9))
log.close()
print("again", log.kept, bool(log.problem))
"""


def test_a_full_disk_loses_records_and_later_ones_are_kept(tmp_path):
    from pathlib import Path

    code = FULL.format(tests=str(Path(__file__).parent.parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "logs")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["full 0 5 True None", "again 1 False"], done.stdout
    found = read_records(tmp_path / "logs")
    assert [a.record.id for a in found.answers] == ["cmpl-9"]
    assert found.skipped["half a line"] == 5  # what the disk had room for


def test_a_second_server_must_use_another_folder(tmp_path):
    with RecordLog(tmp_path), pytest.raises(LacyError, match="E150"):
        RecordLog(tmp_path)
    RecordLog(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LacyError, match="E203"):
        RecordLog(tmp_path / "file" / "logs")


def test_answers_of_earlier_processes_are_known(tmp_path):
    with RecordLog(tmp_path) as log:
        log.add(answer(1))
    with RecordLog(tmp_path) as log:
        assert log.characters("cmpl-1", 0) == [12, 4, 3, 12]
        assert log.count_verdict("cmpl-1", 0) and not log.count_verdict("cmpl-2", 0)


def test_records_are_written_while_the_server_runs(tmp_path):
    with RecordLog(tmp_path) as log:
        log.add(answer(1))
        end = time.monotonic() + 60
        while not log.kept and time.monotonic() < end:
            time.sleep(0.01)
        assert [a.record.id for a in read_records(tmp_path).answers] == ["cmpl-1"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(text=texts, evidence=texts, score=st.none() | st.floats(), texts=st.booleans())
def test_a_record_survives_its_line(text, evidence, score, texts):
    from lacy.types import Span

    span = Span(text, "slm", 1, evidence=evidence, score=score)
    record = answer(texts=texts, spans=[span], prompt=text)
    line = to_line(record)
    assert line.count(b"\n") == 1
    again = from_line(line)
    if score is None or abs(score) < float("inf"):
        assert again == record
    assert again.characters == len(text)
