"""Answers as JSON, colours and receipts."""

import json

from rich.console import Console

from lacy.cascade.trace import (
    receipt,
    render_answer,
    write_answers,
)
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


def test_answers_are_written_as_json_lines(tmp_path):
    path = tmp_path / "answers.jsonl"
    write_answers(path, [ANSWER, Answer(())])
    first, second = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert Answer(tuple(Span(**span) for span in first["spans"]), first["finished"]) == ANSWER
    assert second == {"finished": False, "spans": []}


def test_colours_show_the_speakers():
    text = render_answer(ANSWER)
    assert text.plain == ANSWER.text  # "[bold]" in a text is text
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles == {
        "Ada [bold]": "bold", " Ulm": "green", " a": "red underline", " é👍\n": "magenta"
    }  # fmt: skip
    console = Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as capture:
        console.print(text)
    assert "\x1b[32m Ulm\x1b[0m" in capture.get()


def test_the_receipt_agrees_with_the_types():
    text = receipt(ANSWER)
    assert text.splitlines()[0] == "10 tokens, 3 calls, call rate 60.0%"
    assert "facts.db: 1 answers, 2 tokens, cost 0.5, 0.25 s" in text
    assert "without an answer: 1, cost 0.5" in text
    assert receipt([]) == "0 tokens, 0 calls, call rate 0.0%"
