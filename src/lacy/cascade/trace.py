"""Answers on paper: JSON and back, colours for the terminal, a receipt.

Own words are plain, borrowed words coloured by source (or, where colours are not wanted, inverse).
The model's words after a call that found nothing are red and underlined: they are its guesses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._parse import parse_json
from lacy.cascade.guesses import Unconfirmed
from lacy.errors import CONTROL_CHARACTERS, LacyError
from lacy.run import write_atomic
from lacy.sources import TokenPrice
from lacy.types import Answer, Span, call_rate

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = ("green", "magenta", "cyan", "yellow", "blue")
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
                answers.append(from_dict(parse_json(line)))
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


def guess_style(colour: bool = True) -> str:
    """The style of words that the model wrote after a call that found nothing."""
    return "red underline" if colour else "underline"


def style_of(
    span: Span, palette: dict[str, str], colour: bool = True, *, guessed: bool | None = None
) -> str:
    """The style of a span; a source without a colour in ``palette`` gets one there.

    Args:
        span: the span.
        palette: colours by source.
        colour: whether to use colours.
        guessed: whether its words are unconfirmed (see ``Unconfirmed``); by default, only those of
            a call that found nothing are.
    """
    if span.speaker == "prompt":
        return "bold"
    if span.speaker == "slm":
        return guess_style(colour) if (span.asked if guessed is None else guessed) else ""
    found = palette.setdefault(span.speaker, COLOURS[len(palette) % len(COLOURS)])
    return found if colour else "reverse"


def visible(text: str) -> str:
    """A text without characters that would steer a terminal; each becomes U+FFFD."""
    return CONTROL_CHARACTERS.sub("\ufffd", text)


def render(answer: Answer, palette: dict[str, str] | None = None, colour: bool = True) -> Text:
    """An answer for ``rich.print``; markup-like text in it stays text."""
    from rich.text import Text

    palette = colours([answer]) if palette is None else palette
    text, follow = Text(), Unconfirmed()
    for span in answer.spans:
        for part, guessed in follow.split(span):
            style = style_of(span, palette, colour, guessed=guessed)
            text.append(visible(part), style=style)
    return text


def legend(
    palette: dict[str, str], colour: bool = True, *, prompt: bool = True, silent: bool = True
) -> Text:
    """The legend: styles of the prompt, own words, each source, and unconfirmed words."""
    from rich.text import Text

    text = Text()
    parts = [("prompt", "bold")] * prompt + [("own words", "")]
    parts += [(name, style if colour else "reverse") for name, style in palette.items()]
    parts += [("call found nothing: a guess", guess_style(colour))] * silent
    for name, style in parts:
        text.append(" \u00b7 " if text else "", style="dim")
        text.append(visible(name), style=style)
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
        line = f"  {visible(name)}: {len(own)} answers, {said} tokens"
        cost, seconds = sum(span.cost for span in own), sum(span.seconds for span in own)
        line += f", cost {cost:g}" if cost else ""
        lines.append(line + f", {seconds:.2f} s")
    silent = [span for span in spans if span.asked and span.speaker == "slm"]
    if silent:
        cost = sum(span.cost for span in silent)
        lines.append(f"  without an answer: {len(silent)}" + (f", cost {cost:g}" if cost else ""))
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Share:
    """What one speaker said."""

    tokens: int = 0
    answers: int = 0
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """What answers took, and what they would have cost had a source written all of them."""

    speakers: dict[str, Share]
    """The SLM as ``"slm"`` first, then the sources as they appear."""
    tokens: int
    calls: int
    unanswered: int
    rate: float
    """Share of the tokens that were asked for (``call_rate``)."""
    cost: float
    seconds: float | None
    """Wall time of all answers."""
    undelegated: float | None
    """Cost if the source had read the prompts and written every token; None without a price."""

    @property
    def own(self) -> float:
        """Share of the tokens that the SLM said itself."""
        return self.speakers["slm"].tokens / self.tokens if self.tokens else 1.0


def bill(
    answers: Sequence[Answer],
    *,
    seconds: float | None = None,
    price: TokenPrice | None = None,
) -> Bill:
    """Adds up answers.

    Args:
        answers: what was said.
        seconds: wall time that it took.
        price: the price of the source (``lacy.sources.price_of``).
    """
    spans = [s for answer in answers for s in answer.spans if s.speaker != "prompt"]
    shares = {}
    for name in ["slm", *speakers(answers)]:
        said = [span for span in spans if span.speaker == name]
        shares[name] = Share(
            sum(span.tokens for span in said),
            sum(span.asked for span in said) if name != "slm" else 0,
            sum(span.cost for span in said),
            sum(span.seconds for span in said),
        )
    tokens = sum(span.tokens for span in spans)
    read = sum(s.tokens for answer in answers for s in answer.spans if s.speaker == "prompt")
    return Bill(
        shares,
        tokens,
        sum(span.asked for span in spans),
        sum(span.asked and span.speaker == "slm" for span in spans),
        call_rate(answers),
        sum(span.cost for span in spans),
        seconds,
        None if price is None else price.cost(read, tokens),
    )
