"""The page of a world: what ``evaluate_world`` measured of several models, put side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lacy.evaluate import curves
from lacy.evaluate.evaluate import WorldAnswers, WorldResult
from lacy.evaluate.report import Figure, Headline, Passage, ReportData, Row, Step, Table
from lacy.evaluate.statistics import RESAMPLES, Score

WHAT = {
    "margin": "CALL margin",
    "p_call": "p(CALL)",
    "entropy": "entropy of the next word",
    "top2": "distance of its two best words",
}

INTERVALS = (
    f"Intervals are 95% percentile intervals of {RESAMPLES:,} bootstrap draws over people or "
    "documents (n). A share of exactly 0% or 100% carries the exact binomial bound over the "
    "counted items instead. Facts right: of the claims a text makes, how many are true; a "
    "contradiction counts as a wrong claim. Recall: of the facts there are, how many the text "
    "states correctly."
)


@dataclass(frozen=True, slots=True)
class Pick:
    """One condition of one model, and what to call it on the page."""

    model: str
    condition: str
    label: str
    note: str = ""


def world_page(
    results: Mapping[str, WorldResult],
    rows: Sequence[Pick],
    *,
    best: Pick,
    baseline: Pick,
    title: str = "A small model that knows what it does not know",
    lede: str = "",
    voices: Sequence[Pick] = (),
    shown: int = 0,
    more: Sequence[int] = (1, 2, 3),
    series: Mapping[str, Sequence[Pick]] | None = None,
    training: Sequence[curves.Line] = (),
    setup: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    next_steps: Sequence[Step] = (),
) -> ReportData:
    """Lays out the results of several models.

    Args:
        results: what was measured, by model.
        rows: the conditions to compare, in their order.
        best: the condition to show on top.
        baseline: what it is held against; its model is the control for call quality.
        title: of the page.
        lede: a paragraph under it.
        voices: the conditions of which one text is shown in full (by default baseline and best).
        shown: whose text, as a number in the order asked; fixed beforehand, not picked.
        more: whose other texts of the best condition to show.
        series: lines of the quality-cost plot: name -> points (their labels are not drawn).
        training: training curves, in nats per token by step.
        setup: versions, device, seeds, times.
        notes: more sentences on how it was measured.
        next_steps: what to type next.
    """
    top, bottom = _condition(results, best), _condition(results, baseline)
    figures = []
    if series:
        points = {
            name: [
                curves.Point(condition.facts.call_rate, condition.facts.facts_right)
                for condition in (_condition(results, pick) for pick in picks)
            ]
            for name, picks in series.items()
        }
        figures.append(Figure("Quality and cost", curves.quality_cost(points), QUALITY))
    if calls := results[best.model].calls:
        dots = curves.calibration({best.model: calls.calibration.bins})
        figures.append(Figure("Does it know when to ask?", dots, CALIBRATION))
    drawn = curves.lines(training, x_label="step", y_label="loss, nats per token", name="training")
    return ReportData(
        title=title,
        lede=lede,
        headlines=_headlines(results, best, baseline),
        voices=[
            _passage(pick.label, _condition(results, pick), shown)
            for pick in voices or (baseline, best)
        ],
        tables=[
            table
            for table in (
                _facts(results, rows, best),
                _calls(results, baseline.model),
                _operating(results, baseline.model),
                _held(results),
                _relations(top, bottom, best, baseline),
            )
            if table.rows
        ],
        figures=figures,
        passages=[
            _passage(f"{top.subjects[i]}: {best.label}", top, i)
            for i in more
            if i < len(top.subjects)
        ],
        training=[Figure("Loss on the words of the training texts", drawn)] if training else [],
        setup=setup or {},
        notes=[INTERVALS, *notes],
        next=next_steps,
    )


QUALITY = "Each point is one condition to answer the same questions; bars are 95% intervals."
CALIBRATION = (
    "Where the model gives CALL a probability of 70%, seven of ten words should tell a fact (the "
    "dashed line). Larger dots stand for more words."
)


def _condition(results: Mapping[str, WorldResult], pick: Pick) -> WorldAnswers:
    return results[pick.model].conditions[pick.condition]


def _passage(title: str, condition: WorldAnswers, number: int) -> Passage:
    answer = condition.answers[number]
    calls = "1 call" if answer.calls == 1 else f"{answer.calls} calls"
    note = f"{calls}, {answer.called_tokens} of {answer.tokens} tokens asked for"
    note += "" if answer.finished else "; cut off at the limit"
    return Passage(title, answer, condition.graded[number].verdicts, note)


def _headlines(results: Mapping[str, WorldResult], best: Pick, baseline: Pick) -> list[Headline]:
    top, bottom = _condition(results, best), _condition(results, baseline)
    ours, control = results[best.model], results[baseline.model]
    found = [
        Headline(
            "Facts right", top.facts.facts_right,
            f"{best.label}; before the arrow: {baseline.label}", bottom.facts.facts_right,
        ),
        Headline(
            "Tokens asked for", top.facts.call_rate,
            f"{top.facts.calls_per_statement.value:.2f} calls per stated fact",
        ),
    ]  # fmt: skip
    if ours.calls:
        note = "how surely it ranks the first token of a fact above ordinary words (AUROC)"
        found.append(
            Headline("Knows when to ask", ours.calls.separation["margin"].value_start, note)
        )
    if ours.closed_book:
        before = control.closed_book.start if control.closed_book and control is not ours else None
        found.append(
            Headline(
                "Closed-book recall",
                ours.closed_book.start,
                "with calls switched off",
                before,
            )
        )
    return found


def _facts(results: Mapping[str, WorldResult], rows: Sequence[Pick], best: Pick) -> Table:
    columns = (
        "facts right",
        "recall",
        "tokens asked for",
        "calls per answer",
        "facts per answer",
    )
    body = []
    for pick in rows:
        facts = _condition(results, pick).facts
        cells = (
            facts.facts_right, facts.recall, facts.call_rate, facts.calls_per_answer,
            facts.facts_per_answer,
        )  # fmt: skip
        strong = (pick.model, pick.condition) == (best.model, best.condition)
        body.append(Row(pick.label, cells, pick.note, strong))
    return Table("Facts right, and what they cost", columns, body)


def _calls(results: Mapping[str, WorldResult], control: str) -> Table:
    body = []
    for model, result in results.items():
        names = ("entropy", "top2") if model == control else ("margin",)
        for name in names if result.calls else ():
            found = result.calls.separation[name] if result.calls else None
            if found is not None:
                cells = (found.value_start, found.fact, found.later)
                note = "control: a model that never learned to call" if model == control else ""
                body.append(Row(f"{model}: {WHAT[name]}", cells, note))
    columns = ("first tokens of facts", "all fact tokens", "later tokens only")
    note = (
        "AUROC against the words that tell no fact: 1 is perfect, 0.5 is chance. The later tokens "
        "of a fact are often predictable from its first and need no call of their own."
    )
    return Table("Does it ask in the right places?", columns, body, note)


def _operating(results: Mapping[str, WorldResult], control: str) -> Table:
    body: list[Row] = []
    for model, result in results.items():
        if result.calls is None or (model == control and len(results) > 1):
            continue
        for name, found in (
            ("at the rate of its answers", result.calls.at_rate),
            ("wherever CALL comes first", result.calls.at_zero),
        ):
            if found is not None:
                cells = (found.call_rate, found.precision, found.start_recall, found.recall)
                body.append(Row(f"{model}, {name}", cells))
    columns = ("tokens called", "of them facts", "first tokens called", "fact tokens called")
    note = "Read along true texts, token by token, without borrowing anything."
    return Table("Calls on true texts", columns, body, note, folded=True)


def _held(results: Mapping[str, WorldResult]) -> Table:
    body: list[Row] = []
    for model, result in results.items():
        closed_book, bits = result.closed_book, result.bits
        cells: tuple[Score | None, ...] = (
            closed_book.start if closed_book else None,
            closed_book.chance if closed_book else None,
            bits.per_fact if bits else None,
            bits.share if bits else None,
            result.language_loss,
        )
        if any(cell is not None for cell in cells):
            body.append(Row(model, cells))
    columns = (
        "closed-book recall", "by chance", "bits held per fact", "of the bits there are",
        "loss on other words",
    )  # fmt: skip
    note = "Bits are a lower bound from the loss on the facts (Physics of Language Models 3.3)."
    return Table("What it holds by itself", columns, body, note, folded=True)


def _relations(top: WorldAnswers, bottom: WorldAnswers, best: Pick, baseline: Pick) -> Table:
    names = sorted(set(top.facts.by_relation) | set(bottom.facts.by_relation))
    body = [
        Row(
            name.replace("_", " "),
            (bottom.facts.by_relation.get(name), top.facts.by_relation.get(name)),
        )
        for name in names
    ]
    return Table("Fact by fact", (baseline.label, best.label), body, folded=True)
