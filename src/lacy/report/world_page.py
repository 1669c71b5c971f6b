"""The HTML page that shows the results of ``evaluate_world`` for several models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lacy.evaluate import WorldAnswers, WorldResult
from lacy.report import curves
from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    Passage,
    TableRow,
)
from lacy.results import METRICS, RESAMPLES, Score

ANSWER_METRICS = ("facts_right", "recall", "call_rate", "calls_per_answer", "facts_per_answer")
"""Columns of the table of conditions."""
SIGNAL_NAMES = {
    "margin": "CALL margin",
    "p_call": "p(CALL)",
    "entropy": "entropy of the next word",
    "top2": "gap between its two best words",
}
INTERVALS = (
    f"Intervals are 95% percentile intervals of {RESAMPLES:,} bootstrap draws over people or "
    "documents (n). A share of exactly 0% or 100% has the exact binomial bound over the counted "
    "items instead. A contradiction counts as a wrong claim."
)
QUALITY = "Each point is one condition for the same questions; bars are 95% intervals."
CALIBRATION = (
    "If the model is calibrated (the dashed line), 70% of the words with p(CALL) = 70% state a "
    "fact. Larger dots stand for more words."
)


@dataclass(frozen=True, slots=True)
class ShownCondition:
    """One condition of one model, and its label on the page."""

    model: str
    condition: str
    label: str
    note: str = ""

    def of(self, results: Mapping[str, WorldResult]) -> WorldAnswers:
        """Return the answers of the model under this condition."""
        return results[self.model].conditions[self.condition]


def world_page(
    results: Mapping[str, WorldResult],
    rows: Sequence[ShownCondition],
    *,
    best: ShownCondition,
    baseline: ShownCondition,
    title: str = "A small model that knows what it does not know",
    lede: str = "",
    side_by_side: Sequence[ShownCondition] = (),
    shown: int = 0,
    more: Sequence[int] = (1, 2, 3),
    series: Mapping[str, Sequence[ShownCondition]] | None = None,
    training: Sequence[curves.Curve] = (),
    setup: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    next_steps: Sequence[NextStep] = (),
) -> HtmlPage:
    """Return the page with the results of several models.

    Args:
        results: the results by model.
        rows: the conditions to compare, in the order of the table.
        best: the condition whose scores are shown at the top.
        baseline: the condition it is compared with; its model is the control for call quality.
        title: title of the page.
        lede: a paragraph below the title.
        side_by_side: conditions whose texts are shown side by side; by default baseline and best.
        shown: index of the person whose texts are shown. It should be fixed in advance, so that
            the example is not picked for its result.
        more: indices of further people whose texts under the best condition are shown.
        series: conditions that form a line in the quality-cost plot, by the name of the line.
        training: training curves, in nats per token by step.
        setup: versions, device, seeds and times.
        notes: further sentences on how the results were measured.
        next_steps: commands to try next.
    """
    top, bottom = best.of(results), baseline.of(results)
    tables = (
        _conditions_table(results, rows, best),
        _signals_table(results, baseline.model),
        _calls_table(results, baseline.model),
        _models_table(results),
        _relations_table(top, bottom, best, baseline),
    )
    loss_plot = curves.line_plot(
        training, x_label="step", y_label="loss, nats per token", name="training"
    )
    metric_notes = [
        f"{METRICS[metric].label}: {METRICS[metric].meaning}"
        for metric in (*ANSWER_METRICS, "closed_book_recall")
    ]
    return HtmlPage(
        title=title,
        lede=lede,
        headlines=_headlines(results, best, baseline),
        side_by_side=[
            _passage(condition.label, condition.of(results), shown)
            for condition in side_by_side or (baseline, best)
        ],
        tables=[table for table in tables if table.rows],
        figures=_figures(results, series, best),
        passages=[
            _passage(f"{top.subjects[i]}: {best.label}", top, i)
            for i in more
            if i < len(top.subjects)
        ],
        training=[PageFigure("Loss on the words of the training texts", loss_plot)]
        if training
        else [],
        setup=setup or {},
        notes=[INTERVALS, " ".join(line[0].upper() + line[1:] for line in metric_notes), *notes],
        next=next_steps,
    )


def _figures(
    results: Mapping[str, WorldResult],
    series: Mapping[str, Sequence[ShownCondition]] | None,
    best: ShownCondition,
) -> list[PageFigure]:
    figures = []
    if series:
        points = {
            name: [
                (facts["call_rate"], facts["facts_right"])
                for facts in (condition.of(results).facts for condition in conditions)
            ]
            for name, conditions in series.items()
        }
        figures.append(PageFigure("Quality and cost", curves.quality_cost_plot(points), QUALITY))
    if calls := results[best.model].calls:
        plot = curves.calibration_plot({best.model: calls.calibration.bins})
        figures.append(PageFigure("Does the model know when to call?", plot, CALIBRATION))
    return figures


def _passage(title: str, answers: WorldAnswers, index: int) -> Passage:
    answer = answers.answers[index]
    calls = "1 call" if answer.calls == 1 else f"{answer.calls} calls"
    note = f"{calls}, {answer.called_tokens} of {answer.tokens} tokens from calls"
    note += "" if answer.finished else "; cut off at the limit"
    return Passage(title, answer, answers.graded[index].verdicts, note)


def _headlines(
    results: Mapping[str, WorldResult], best: ShownCondition, baseline: ShownCondition
) -> list[Headline]:
    top, bottom = best.of(results).facts, baseline.of(results).facts
    best_result, control = results[best.model], results[baseline.model]
    headlines = [
        Headline(
            "Facts right", top["facts_right"],
            f"{best.label}; before the arrow: {baseline.label}", bottom["facts_right"],
        ),
        Headline(
            "Call rate", top["call_rate"],
            f"{top['calls_per_statement'].value:.2f} calls per stated fact",
        ),
    ]  # fmt: skip
    if best_result.calls:
        note = "how often the first token of a fact ranks above other words (AUROC)"
        score = best_result.calls.separation["margin"].value_start
        headlines.append(Headline("Knows when to call", score, note))
    if best_result.closed_book:
        other = control.closed_book if control is not best_result else None
        before = other.start if other else None
        score = best_result.closed_book.start
        headlines.append(Headline("Closed-book recall", score, "with calls switched off", before))
    return headlines


def _conditions_table(
    results: Mapping[str, WorldResult], rows: Sequence[ShownCondition], best: ShownCondition
) -> PageTable:
    body = []
    for row in rows:
        facts = row.of(results).facts
        strong = (row.model, row.condition) == (best.model, best.condition)
        body.append(TableRow(row.label, [facts[m] for m in ANSWER_METRICS], row.note, strong))
    columns = [METRICS[metric].label for metric in ANSWER_METRICS]
    return PageTable("Facts right and their cost", columns, body)


def _signals_table(results: Mapping[str, WorldResult], control: str) -> PageTable:
    body = []
    for model, result in results.items():
        names = ("entropy", "top2") if model == control else ("margin",)
        note = "control: a model that never learned to call" if model == control else ""
        for name in names if result.calls else ():
            separation = result.calls.separation[name] if result.calls else None
            if separation is not None:
                cells = (separation.value_start, separation.fact, separation.later)
                body.append(TableRow(f"{model}: {SIGNAL_NAMES[name]}", cells, note))
    columns = ("first tokens of facts", "all fact tokens", "later tokens only")
    note = (
        "AUROC against words that state no fact: 1 is perfect, 0.5 is chance. The later tokens of "
        "a fact are often predictable from its first token and need no call of their own."
    )
    return PageTable("Does the model call in the right places?", columns, body, note)


def _calls_table(results: Mapping[str, WorldResult], control: str) -> PageTable:
    body: list[TableRow] = []
    for model, result in results.items():
        if result.calls is None or (model == control and len(results) > 1):
            continue
        for name, point in (
            ("at the call rate of its answers", result.calls.at_rate),
            ("wherever CALL is the likeliest token", result.calls.at_zero),
        ):
            if point is not None:
                cells = (point.call_rate, point.precision, point.start_recall, point.recall)
                body.append(TableRow(f"{model}, {name}", cells))
    columns = ("call rate", "precision", "recall, first tokens", "recall, fact tokens")
    note = "Measured on true texts, token by token (teacher forcing); no source is asked."
    return PageTable("Calls on true texts", columns, body, note, folded=True)


def _models_table(results: Mapping[str, WorldResult]) -> PageTable:
    body: list[TableRow] = []
    for model, result in results.items():
        recall, bits = result.closed_book, result.bits
        cells: tuple[Score | None, ...] = (
            recall.start if recall else None,
            recall.chance if recall else None,
            bits.per_fact if bits else None,
            bits.share if bits else None,
            result.language_loss,
        )
        if any(cell is not None for cell in cells):
            body.append(TableRow(model, cells))
    columns = (
        "closed-book recall", "chance level", "stored bits per fact", "stored share of all bits",
        "language loss",
    )  # fmt: skip
    note = (
        "Stored bits are a lower bound, computed from the loss on the facts (Physics of Language "
        "Models 3.3)."
    )
    return PageTable("What the model knows by itself", columns, body, note, folded=True)


def _relations_table(
    top: WorldAnswers, bottom: WorldAnswers, best: ShownCondition, baseline: ShownCondition
) -> PageTable:
    sides = (bottom.facts.by_relation, top.facts.by_relation)
    names = sorted(set().union(*sides))
    body = [TableRow(n.replace("_", " "), [side.get(n) for side in sides]) for n in names]
    return PageTable("Facts right by relation", (baseline.label, best.label), body, folded=True)
