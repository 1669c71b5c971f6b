from .articles import ArticleAnswers, calibrate_on, evaluate_articles
from .calls import BINS
from .curves import CONTROLS, Line
from .entities import Extract, default_extract, entity_precision
from .evaluate import WorldAnswers, WorldResult, answer_all, evaluate_world, flat
from .facts import COLUMNS, counts, score_facts
from .pages import Pick, world_page
from .report import Figure, ReportData, Row, Step, Table, number, write_report
from .statistics import (
    CONFIDENCE,
    RESAMPLES,
    Score,
    difference,
    of_sums,
    paired_test,
    ratio,
    recovered,
)

__all__ = [
    "BINS",
    "COLUMNS",
    "CONFIDENCE",
    "CONTROLS",
    "RESAMPLES",
    "ArticleAnswers",
    "Extract",
    "Figure",
    "Line",
    "Pick",
    "ReportData",
    "Row",
    "Score",
    "Step",
    "Table",
    "WorldAnswers",
    "WorldResult",
    "answer_all",
    "calibrate_on",
    "counts",
    "default_extract",
    "difference",
    "entity_precision",
    "evaluate_articles",
    "evaluate_world",
    "flat",
    "number",
    "of_sums",
    "paired_test",
    "ratio",
    "recovered",
    "score_facts",
    "world_page",
    "write_report",
]
