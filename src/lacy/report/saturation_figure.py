"""The figure of saturation: spectrum of the head, lower ranks, and gradients along training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lacy.report.svg import Output, SeriesStyle, figure_panels


@dataclass(frozen=True, slots=True)
class SaturationSeries:
    """One model along its training, or several models that are measured once."""

    name: str
    steps: Sequence[float]
    """Training step of each measurement, rising."""
    measured: Sequence[Mapping[str, Any]]
    """Each measurement as plain data (``to_data`` of a ``SaturationResult``)."""


def saturation_figure(
    file: Output,
    series: Sequence[SaturationSeries],
    *,
    tokens: str = "all",
    loss: str = "text",
    head: str = "",
) -> str:
    """Draw the spectrum and the loss by rank at the last step, then two measures by step.

    Args:
        file: the ``.svg`` file to write.
        series: one line each.
        tokens: group of tokens of the losses and gradients.
        head: kind of the heads whose losses are drawn, such as ``cut``; by default trained ones, or
            fitted ones if none was trained.
        loss: whose gradient is drawn: ``text`` or ``call``; series without it have no line there.

    Returns:
        The alternative text.
    """
    description = (
        "Saturation of the output head: singular values, rise of the loss with a head of lower "
        f"rank, share of the gradient that passes, effective rank; {tokens} tokens."
    )
    with figure_panels(file, 4, description, height=4.2) as (spectra, ranks, gradient, effective):
        for number, one in enumerate(series):
            style = SeriesStyle(number)
            last = one.measured[-1]
            values = last["spectrum"]["values"]
            places = [(n + 1) / len(values) for n in range(len(values))]
            relative = [value / values[0] for value in values]
            spectra.plot(places, relative, color=style.colour, linestyle=style.dash, label=one.name)
            _line(ranks, *_rises(last, tokens, head), style)
            shares = [m["gradient"].get(loss, {}).get(tokens) for m in one.measured]
            drawn = [n for n, share in enumerate(shares) if share]
            kept = [100 * shares[n]["kept"]["value"] for n in drawn]
            _line(gradient, [one.steps[n] for n in drawn], kept, style)
            used = [m["spectrum"]["effective_rank"] for m in one.measured]
            size = last["spectrum"]["hidden_size"]
            _line(effective, one.steps, [100 * rank / size for rank in used], style)
        spectra.set(xlabel="share of the dimensions", ylabel="singular value, relative")
        spectra.set_yscale("log")
        ranks.set(xlabel="rank of the head", ylabel="rise of the loss, nats")
        ranks.set_xscale("log")
        every = [rank for one in series for rank in _rises(one.measured[-1], tokens, head)[0]]
        _plain_ticks(ranks.xaxis, sorted(set(every)))
        _plain_ticks(spectra.yaxis, [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001])
        for axes, label in (
            (gradient, "gradient kept, %"),
            (effective, "effective rank, % of size"),
        ):
            axes.set(xlabel="training step", ylabel=label)
            axes.set_ylim(bottom=0)
    return description


def _rises(measured: Mapping[str, Any], tokens: str, head: str) -> tuple[list[int], list[float]]:
    """Return ranks and rises of the heads of a kind."""
    heads = [one for one in measured["ranks"]["heads"] if tokens in one["rise"]]
    kind = head or ("trained" if any(one["head"] == "trained" for one in heads) else "fitted")
    points = [(h["rank"], h["rise"][tokens]["value"]) for h in heads if h["head"] == kind]
    return [rank for rank, _ in points], [rise for _, rise in points]


def _line(axes: Any, x: Sequence[float], y: Sequence[float], style: SeriesStyle) -> None:
    axes.plot(x, y, color=style.colour, linestyle=style.dash, marker=style.marker)


def _plain_ticks(axis: Any, places: Sequence[float]) -> None:
    """Label an axis with a logarithmic scale by plain numbers, as far as they lie on it."""
    low, high = axis.get_view_interval()
    inside = [place for place in places if low <= place <= high]
    axis.set_ticks(inside, [f"{place:g}" for place in inside])
    axis.set_ticks([], minor=True)
