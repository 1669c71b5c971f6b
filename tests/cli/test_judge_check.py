"""``lacy judge check``: files with nothing to compare are errors, not an empty table."""

import json

import pytest

from helpers.pages import lacy

FACT = {"text": "Ann Bell was born in Oslo.", "label": "S"}
LABELLED = {
    "topic": "Ann Bell", "output": FACT["text"],
    "annotations": [{"text": FACT["text"], "human-atomic-facts": [FACT]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "topic", "why"),
    [
        ([], "Ann Bell", "no response has facts with labels"),
        ([LABELLED | {"annotations": None}], "Ann Bell", "no response has facts with labels"),
        ([LABELLED], "Bob Hill", "no topic of the labels has passages"),
    ],
)
def test_nothing_to_compare_is_an_error(tmp_path, capsys, labels, topic, why):
    rows = {"labels_M.jsonl": labels, "passages.jsonl": [{"topic": topic, "text": "A page."}]}
    for name, lines in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [str(tmp_path / name) for name in rows]
    code = lacy(
        "judge", "check", "--judge", "overlap", "--labels", files[0], "--passages", files[1]
    )
    error = capsys.readouterr().err
    assert code == 3 and "[E217]" in error and why in error
