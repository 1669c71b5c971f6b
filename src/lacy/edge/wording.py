"""The answer in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lacy._text import format_bytes
from lacy.edge.answer import EdgeAnswer, Varied


def format_days(days: float, horizon: float = math.inf) -> str:
    """Format a number of days: ``5 hours``, ``12.3 days``, ``4.1 years``."""
    if not math.isfinite(days):
        return f"more than {format_days(horizon)}" if math.isfinite(horizon) else "never"
    if days < 1:
        hours = days * 24
        return f"{hours * 60:.0f} minutes" if hours < 1 else f"{hours:.1f} hours"
    return f"{days:.1f} days" if days < 730 else f"{days / 365.25:.1f} years"


def answer_sentences(answer: EdgeAnswer) -> list[str]:
    """Return the answer in words, the most important first."""
    return list(_sentences(answer))


def _sentences(answer: EdgeAnswer) -> Iterator[str]:
    assumed, work = answer.assumed, answer.work
    what = f"{assumed.population:,} devices"
    goal = f"train {work.name} on {assumed.tokens:,.0f} tokens"
    wanted = format_days(answer.wanted_days)
    fits = sum(run.devices_that_fit for run in answer.runs) / len(answer.runs)
    memory = f"{100 * fits:.1f}% of the devices have the memory that this takes"
    memory += f" ({format_bytes(work.memory_bytes)})."
    if not answer.finished:
        yield f"No: {what} cannot {goal} within {format_days(assumed.horizon_days)}."
        if fits:
            reached = max(run.progress for run in answer.runs)
            yield f"They reach {100 * reached:.2g}% of the tokens by then."
        if answer.runs[0].sums["chosen"] and not answer.runs[0].sums["merged"]:
            sums = answer.runs[0].sums
            yield (
                f"No update ever arrives in time: of {sums['chosen']:,.0f} device rounds, "
                f"{sums['late']:,.0f} were late, {sums['interrupted']:,.0f} interrupted; "
                f"{sums['left']:,.0f} devices left. Fewer steps per round would help."
            )
        yield memory
        return
    figures = answer.figures()
    time = figures["wall time"]
    took = format_days(time.value)
    if math.isfinite(time.low) and time.high - time.low > 0.001 * time.value:
        took += f" [{format_days(time.low)}, {format_days(time.high)}]"
    verdict = "Yes" if answer.can else "No"
    if not answer.can and any(run.days <= answer.wanted_days for run in answer.runs):
        verdict = "Perhaps"
    yield f"{verdict}: {what} {goal} in {took}; wanted: {wanted}."
    missed = len(answer.runs) - len(answer.finished)
    if missed:
        yield (f"{missed} of {len(answer.runs)} runs did not end within "
               f"{format_days(assumed.horizon_days)}; figures are of the others.")  # fmt: skip
    yield memory
    yield from _about_waste(answer)
    if (most := answer.matters_most) is not None:
        yield f"The assumption that matters most: {effect(most, assumed.horizon_days)}."
    choices = [v for v in answer.varied if v.kind == "choice" and v.width > 1.001]
    if choices:
        yield f"The choice that matters most: {effect(choices[0], assumed.horizon_days)}."
    simulated = min(run.simulated for run in answer.finished)
    if simulated < 1.0:
        yield f"{100 * simulated:.2g}% of the rounds were simulated; the others are extrapolated."


def _about_waste(answer: EdgeAnswer) -> Iterator[str]:
    """Say how many devices work at once, and where their work goes."""
    figures, algorithm = answer.figures(), answer.algorithm
    count, spent = figures["devices per round"].value, figures["tokens spent"].value * 1e9
    batch = spent / figures["rounds"].value / algorithm.steps
    spent /= answer.assumed.tokens
    yield (
        f"{count:,.0f} devices work at once; their batch of {batch:,.0f} tokens makes the training "
        f"take {spent:.2f} times the tokens of small batches."
    )
    yield (
        f"{100 * figures['utilisation'].value:.1f}% of what they could compute ends in the model; "
        f"{100 * figures['device rounds lost'].value:.1f}% of their rounds are lost."
    )


def effect(one: Varied, horizon: float) -> str:
    """Say what halving and doubling an assumption does."""
    halved, doubled = (format_days(days, horizon) for days in (one.halved, one.doubled))
    return f"{one.name} (halved: {halved}, doubled: {doubled})"
