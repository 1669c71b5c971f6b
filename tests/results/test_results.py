"""The table of metrics fits what is counted and measured, and a result holds all of a score."""

import subprocess
import sys

import numpy as np
import pytest

from lacy.evaluate import ARTICLE_COUNTS, AUDIT_COUNTS, COUNTS, LIFE_COUNTS, QUESTION_COUNTS
from lacy.factscore import FACT_COUNTS
from lacy.results import (
    METRICS,
    MODEL_METRICS,
    RATIOS,
    Result,
    Score,
    as_data,
    metric_of,
    model_scores,
    ratio_scores,
    ratio_sums,
    results_of,
)

OPENING = ("openings", "completed", "calls", "called", "tokens")


def test_every_ratio_is_made_of_counts_and_no_metric_has_two_origins():
    for name in RATIOS:
        used = [count for part in METRICS[name].counts for count in part.split("+")]
        known = (
            COUNTS, ARTICLE_COUNTS, AUDIT_COUNTS, FACT_COUNTS, LIFE_COUNTS, OPENING,
            QUESTION_COUNTS,
        )  # fmt: skip
        assert any(set(used) <= set(counts) for counts in known), name
    assert not set(RATIOS) & set(MODEL_METRICS)
    labels = [metric.label for metric in METRICS.values()]
    assert len(labels) == len(set(labels))
    assert all(metric.meaning.endswith(".") for metric in METRICS.values())


def test_a_ratio_is_left_out_where_a_count_is_missing():
    found = ratio_scores({"right": np.array([1, 2]), "claims": np.array([2, 2])})
    assert set(found) == {"facts_right"}
    assert found["facts_right"].value == pytest.approx(3 / 4)


def test_f1_is_a_ratio_of_sums():
    top, bottom = ratio_sums("f1", {"right": 3, "claims": 4, "facts": 5})
    assert (top, bottom) == (6, 9)


def test_model_scores_are_read_by_their_path_and_survive_json():
    score = Score(0.2, float("nan"), 0.3, 7)
    data = as_data({"closed_book": {"start": score}, "bits": None})
    (name,) = model_scores(data)
    assert name == "closed_book_recall"
    again = model_scores(data)[name]
    assert (again.value, again.high, again.n) == (0.2, 0.3, 7) and again.low != again.low


def test_a_result_is_a_score_with_its_conditions():
    (result,) = results_of({"f1": Score(0.5, 0.4, 0.6, 9)}, seed=3, conditions={"policy": "never"})
    assert result == Result("f1", 0.5, 0.4, 0.6, 9, "share", 3, {"policy": "never"})


def test_an_unknown_metric_describes_itself():
    assert metric_of("new_figure").label == "new figure" and metric_of("new_figure").sign == 0
    assert metric_of("closed_book_recall").sign == -1


def test_pages_and_figures_import_no_model():
    code = (
        "import sys, lacy.report as report; [getattr(report, name) for name in report.__all__];"
        "assert not {'torch', 'transformers', 'accelerate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
