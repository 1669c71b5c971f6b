"""Answers on paper: JSON and back, colours for the terminal, a receipt.

Own words are plain, borrowed words coloured by source, words after a call without an answer
underlined: what a reader cannot check by eye is what nobody marked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.types import Answer, Span, call_rate

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = ("green", "magenta", "cyan", "yellow", "blue", "red")
"""Given to sources in the order in which they first speak."""


def to_dict(answer: Answer) -> dict[str, Any]:
    """An answer as plain data for JSON."""
    return {"finished": answer.finished, "spans": [asdict(span) for span in answer.spans]}


def from_dict(data: Any) -> Answer:
    """The answer that ``to_dict`` wrote.

    Raises:
        ValueError: if it is no such thing.
    """
    known = {f.name for f in fields(Span)}
    if not isinstance(data, dict) or not isinstance(data.get("spans"), list):
        raise ValueError("no spans")
    spans = []
    for item in data["spans"]:
        if not isinstance(item, dict) or not {"text", "speaker"} <= set(item) <= known:
            raise ValueError("a span has other fields than " + ", ".join(sorted(known)))
        spans.append(Span(**item))
    return Answer(tuple(spans), bool(data.get("finished", False)))


def write_answers(path: str | Path, answers: Iterable[Answer]) -> None:
    """Write answers as JSON lines, as a whole or not at all."""
    lines = [json.dumps(to_dict(answer), ensure_ascii=False) for answer in answers]
    write_atomic(path, "".join(line + "\n" for line in lines))


def read_answers(path: str | Path) -> list[Answer]:
    """Answers from a file of ``write_answers``.

    Raises:
        LacyError: E13 no such file, E64 something else in it.
    """
    path = Path(path)
    if not path.is_file():
        raise LacyError("E13", path=path, do="give a file written by lacy generate")
    answers = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            if line.strip():
                answers.append(from_dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise LacyError("E64", path=path, why=f"line {number}: {error}") from error
    return answers


def speakers(answers: Sequence[Answer]) -> list[str]:
    """The sources that spoke, in order of appearance."""
    spans = (span for answer in answers for span in answer.spans)
    return list(dict.fromkeys(s.speaker for s in spans if s.speaker not in ("prompt", "slm")))


def colours(answers: Sequence[Answer]) -> dict[str, str]:
    """A colour per source, the same for all of ``answers``."""
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(speakers(answers))}


def render(answer: Answer, palette: dict[str, str] | None = None) -> Text:
    """An answer for ``rich.print``; markup-like text in it stays text."""
    from rich.text import Text

    palette = colours([answer]) if palette is None else palette
    text = Text()
    for span in answer.spans:
        style = ""
        if span.speaker == "prompt":
            style = "bold"
        elif span.speaker != "slm":
            style = palette.get(span.speaker, COLOURS[0])
        elif span.asked:
            style = "underline"
        text.append(span.text, style=style)
    return text


def receipt(answers: Answer | Sequence[Answer]) -> str:
    """What the calls took: tokens, calls, share, cost and time by source, in a few lines."""
    answers = [answers] if isinstance(answers, Answer) else list(answers)
    spans = [s for answer in answers for s in answer.spans if s.speaker != "prompt"]
    tokens = sum(answer.tokens for answer in answers)
    lines = [f"{tokens} tokens, {sum(answer.calls for answer in answers)} calls, "
             f"call rate {call_rate(answers):.1%}"]  # fmt: skip
    for name in speakers(answers):
        own = [span for span in spans if span.speaker == name]
        said = sum(span.tokens for span in own)
        line = f"  {name}: {len(own)} answers, {said} tokens"
        cost, seconds = sum(span.cost for span in own), sum(span.seconds for span in own)
        line += f", cost {cost:g}" if cost else ""
        lines.append(line + f", {seconds:.2f} s")
    silent = [span for span in spans if span.asked and span.speaker == "slm"]
    if silent:
        cost = sum(span.cost for span in silent)
        lines.append(f"  without an answer: {len(silent)}" + (f", cost {cost:g}" if cost else ""))
    return "\n".join(lines)
