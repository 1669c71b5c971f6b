"""Records are read back; lines that are none are skipped, counted and named."""

import json

import pytest

from helpers.records import answer, verdict
from lacy.errors import LacyError
from lacy.records import read_records


def test_verdicts_join_their_answers_in_order(kept):
    records = [answer(1), verdict(1), answer(2), verdict(2, "right", 0, 5), verdict(1, "right")]
    found = read_records(kept(*records))
    assert [[v.verdict for v in a.verdicts] for a in found.answers] == [
        ["wrong", "right"],
        ["right"],
    ]
    assert found.fingerprints == {"0123456789abcdef"} and not found.skipped


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"version": 2}', "version 2 instead of 1"),
        (b'{"version": 1, "record": "x"}', "unknown kind of record 'x'"),
        (b'{"version": 1, "record": "answer", "spans": 3}', "spans is not a list of objects"),
        (b'{"version": 1, "record": "verdict", "id": "a"}', "missing"),
        (
            b'{"version": 1, "record": "verdict", "id": 3, "choice": 0, "time": 0, "verdict": "?"}',
            "expected",
        ),
    ],
)
def test_a_malformed_line_is_skipped_with_its_place(kept, line, why):
    folder = kept(answer(1), answer(2))
    [path] = folder.glob("*.jsonl")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    found = read_records(folder)
    assert [a.record.id for a in found.answers] == ["cmpl-1", "cmpl-2"]
    [(reason, count)] = found.skipped.items()
    assert count == 1 and why in reason and found.places[reason] == [f"{path.name}:2"]


def test_fields_with_wrong_values_are_malformed(kept):
    folder = kept(answer(1), answer(2), verdict(1, start=3, end=5))
    [path] = folder.glob("*.jsonl")
    good, wrong, judged = map(json.loads, path.read_text().splitlines())
    wrong["spans"][0]["characters"] = 3
    judged["end"] = 2
    path.write_text("".join(json.dumps(line) + "\n" for line in (good, wrong, judged)))
    found = read_records(folder)
    assert len(found.answers) == 1 and found.skipped.total() == 2


def test_half_a_last_line_is_skipped(kept):
    folder = kept(answer(1), answer(2))
    [path] = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    found = read_records(folder)
    assert len(found.answers) == 1 and found.skipped == {"half a line": 1}


def test_verdicts_on_unknown_answers_or_parts_are_counted(kept):
    found = read_records(kept(answer(1), verdict(7), verdict(1, start=0, end=99)))
    assert found.unknown == 2 and not found.answers[0].verdicts


def test_no_folder_and_no_records(tmp_path):
    with pytest.raises(LacyError, match="E13"):
        read_records(tmp_path / "none")
    with pytest.raises(LacyError, match="E204"):
        read_records(tmp_path)
