"""Format answers as JSON and as coloured text for the terminal; summarize tokens and cost.

The model's words are plain. Words from sources have a colour per source, or are in reverse video if
there are no colours. The model's guesses after calls that found nothing are red and underlined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.cascade.guesses import GuessTracker
from lacy.errors import CONTROL_CHARACTERS
from lacy.run import write_atomic
from lacy.sources import TokenPrice
from lacy.types import Answer, Span, call_rate

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = ("green", "magenta", "cyan", "yellow", "blue")
"""Colours of sources, in the order in which the sources first appear."""


def answer_to_dict(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain data for JSON."""
    return {"finished": answer.finished, "spans": [asdict(span) for span in answer.spans]}


def write_answers(path: str | Path, answers: Iterable[Answer]) -> None:
    """Write answers as JSON lines, atomically."""
    lines = [json.dumps(answer_to_dict(answer), ensure_ascii=False) for answer in answers]
    write_atomic(path, "".join(line + "\n" for line in lines))


def speakers(answers: Sequence[Answer]) -> list[str]:
    """Return the names of the sources in the answers, in order of appearance."""
    spans = (span for answer in answers for span in answer.spans)
    return list(dict.fromkeys(s.speaker for s in spans if s.speaker not in ("prompt", "slm")))


def colours(answers: Sequence[Answer]) -> dict[str, str]:
    """Return a colour per source, the same in all of ``answers``."""
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(speakers(answers))}


def guess_style(colour: bool = True) -> str:
    """Return the style of a guess."""
    return "red underline" if colour else "underline"


def style_of(
    span: Span, palette: dict[str, str], colour: bool = True, *, guessed: bool | None = None
) -> str:
    """Return the style of a span.

    Args:
        span: the span.
        palette: colours by source; a new source is added with a new colour.
        colour: False to use no colours.
        guessed: True if the text is a guess (see ``GuessTracker``). By default, it is if the span
            itself is a call that found nothing.
    """
    if span.speaker == "prompt":
        return "bold"
    if span.speaker == "slm":
        return guess_style(colour) if (span.asked if guessed is None else guessed) else ""
    source_colour = palette.setdefault(span.speaker, COLOURS[len(palette) % len(COLOURS)])
    return source_colour if colour else "reverse"


def printable(text: str) -> str:
    """Replace characters that would control a terminal by U+FFFD."""
    return CONTROL_CHARACTERS.sub("\ufffd", text)


def render_answer(
    answer: Answer, palette: dict[str, str] | None = None, colour: bool = True
) -> Text:
    """Return an answer as text for ``rich``; its contents are not interpreted as markup."""
    from rich.text import Text

    palette = colours([answer]) if palette is None else palette
    text, tracker = Text(), GuessTracker()
    for span in answer.spans:
        for part, guessed in tracker.split(span):
            style = style_of(span, palette, colour, guessed=guessed)
            text.append(printable(part), style=style)
    return text


def legend(
    palette: dict[str, str], colour: bool = True, *, prompt: bool = True, silent: bool = True
) -> Text:
    """Return a legend with the styles of the prompt, own words, each source, and guesses."""
    from rich.text import Text

    text = Text()
    parts = [("prompt", "bold")] * prompt + [("own words", "")]
    parts += [(name, style if colour else "reverse") for name, style in palette.items()]
    parts += [("call found nothing: a guess", guess_style(colour))] * silent
    for name, style in parts:
        text.append(" \u00b7 " if text else "", style="dim")
        text.append(printable(name), style=style)
    return text


@dataclass(frozen=True, slots=True)
class SpeakerTotals:
    """Tokens, calls, cost and time of one speaker."""

    tokens: int = 0
    answers: int = 0
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens, calls, cost and time of answers, and the cost if a source wrote everything."""

    speakers: dict[str, SpeakerTotals]
    """Totals of the SLM (``"slm"``) first, then of the sources in order of appearance."""
    tokens: int
    calls: int
    unanswered: int
    rate: float
    """Share of the tokens that came from calls (``call_rate``)."""
    cost: float
    seconds: float | None
    """Wall-clock time of all answers."""
    undelegated: float | None
    """Cost if the source read the prompts and wrote all tokens; None if it has no price."""

    @property
    def own(self) -> float:
        """Share of the tokens that the SLM wrote itself."""
        return self.speakers["slm"].tokens / self.tokens if self.tokens else 1.0


def bill(
    answers: Sequence[Answer],
    *,
    seconds: float | None = None,
    price: TokenPrice | None = None,
) -> Bill:
    """Add up tokens, calls and cost of answers.

    Args:
        answers: the answers.
        seconds: wall-clock time of all answers.
        price: price of the source (``lacy.sources.price_of``).
    """
    spans = [span for answer in answers for span in answer.spans]
    generated = [span for span in spans if span.speaker != "prompt"]
    totals = {}
    for name in ["slm", *speakers(answers)]:
        own_spans = [span for span in generated if span.speaker == name]
        totals[name] = SpeakerTotals(
            sum(span.tokens for span in own_spans),
            sum(span.asked for span in own_spans) if name != "slm" else 0,
            sum(span.cost for span in own_spans),
            sum(span.seconds for span in own_spans),
        )
    tokens = sum(span.tokens for span in generated)
    prompt_tokens = sum(span.tokens for span in spans if span.speaker == "prompt")
    return Bill(
        totals,
        tokens,
        calls=sum(span.asked for span in generated),
        unanswered=sum(span.asked and span.speaker == "slm" for span in generated),
        rate=call_rate(answers),
        cost=sum(span.cost for span in generated),
        seconds=seconds,
        undelegated=None if price is None else price.cost(prompt_tokens, tokens),
    )


def receipt(answers: Answer | Sequence[Answer]) -> str:
    """Return a summary of tokens, calls, call rate, cost and time by source, in a few lines."""
    total = bill([answers] if isinstance(answers, Answer) else list(answers))
    lines = [f"{total.tokens} tokens, {total.calls} calls, call rate {total.rate:.1%}"]
    slm, *sources = total.speakers.items()
    for name, totals in sources:
        cost = f", cost {totals.cost:g}" if totals.cost else ""
        line = f"  {printable(name)}: {totals.answers} answers, {totals.tokens} tokens{cost}"
        lines.append(f"{line}, {totals.seconds:.2f} s")
    if total.unanswered:
        cost = f", cost {slm[1].cost:g}" if slm[1].cost else ""
        lines.append(f"  without an answer: {total.unanswered}{cost}")
    return "\n".join(lines)
