"""Answers as JSON, colours and receipts."""

import json

import pytest
from rich.console import Console

from lacy.cascade.trace import (
    from_dict,
    read_answers,
    receipt,
    render,
    to_dict,
    write_answers,
)
from lacy.errors import LacyError
from lacy.types import Answer, Span

ANSWER = Answer(
    (
        Span("Ada [bold]", "prompt", 4),
        Span(" was born in", "slm", 3),
        Span(" Ulm", "facts.db", 2, "margin 3.1 > 0.4", "Ada · place · Ulm", 3.1, 0.5, 0.25, True),
        Span(" on", "slm", 1),
        Span(" a", "slm", 1, "margin 1.0 > 0.4; source had no answer", asked=True, cost=0.5),
        Span(" é👍\n", "partner", 3, asked=True),
    ),
    finished=True,
)


def test_json_goes_round(tmp_path):
    assert from_dict(json.loads(json.dumps(to_dict(ANSWER)))) == ANSWER
    path = tmp_path / "answers.jsonl"
    write_answers(path, [ANSWER, Answer(())])
    assert read_answers(path) == [ANSWER, Answer(())]


@pytest.mark.parametrize(
    "line",
    ["{", "3", '{"spans": 1}', '{"spans": [{"text": "x"}]}', '{"spans": [{"speaker": 1, "a": 2}]}'],
)
def test_other_files_are_refused(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(LacyError, match=r"E64.*line 2"):
        read_answers(path)
    with pytest.raises(LacyError, match="E13"):
        read_answers(tmp_path / "absent")


def test_colours_say_who_spoke():
    text = render(ANSWER)
    assert text.plain == ANSWER.text  # "[bold]" in a text is text
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles == {
        "Ada [bold]": "bold", " Ulm": "green", " a": "red underline", " é👍\n": "magenta"
    }  # fmt: skip
    console = Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as capture:
        console.print(text)
    assert "\x1b[32m Ulm\x1b[0m" in capture.get()


def test_receipt_counts_what_the_types_count():
    text = receipt(ANSWER)
    assert text.splitlines()[0] == "10 tokens, 3 calls, call rate 60.0%"
    assert "facts.db: 1 answers, 2 tokens, cost 0.5, 0.25 s" in text
    assert "without an answer: 1, cost 0.5" in text
    assert receipt([]) == "0 tokens, 0 calls, call rate 0.0%"
