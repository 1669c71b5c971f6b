from .article_counts import ARTICLE_COUNTS, article_counts
from .article_sources import article_prompts, open_article_source
from .articles import (
    ArticleAnswers,
    ArticlesResult,
    answer_articles,
    calibrate_on,
    evaluate_articles,
    oracle_rate,
)
from .calls import BINS, CalibrationBin
from .entities import Extract, default_extract
from .facts import COUNTS, FactScores, Verdict, person_counts, score_facts
from .on_texts import TextMeasurements, measure_on_texts
from .provenance import SpanLookup, is_borrowed
from .results import (
    METRICS,
    MODEL_METRICS,
    RATIOS,
    Measurement,
    Metric,
    Result,
    Task,
    metric_of,
    model_scores,
    ratio_scores,
    ratio_sums,
    to_data,
)
from .statistics import (
    CONFIDENCE,
    RESAMPLES,
    Score,
    as_data,
    difference,
    paired_test,
    recovered_share,
)
from .world import WorldAnswers, WorldResult, answer_all, evaluate_world

__all__ = [
    "ARTICLE_COUNTS",
    "BINS",
    "CONFIDENCE",
    "COUNTS",
    "METRICS",
    "MODEL_METRICS",
    "RATIOS",
    "RESAMPLES",
    "ArticleAnswers",
    "ArticlesResult",
    "CalibrationBin",
    "Extract",
    "FactScores",
    "Measurement",
    "Metric",
    "Result",
    "Score",
    "SpanLookup",
    "Task",
    "TextMeasurements",
    "Verdict",
    "WorldAnswers",
    "WorldResult",
    "answer_all",
    "answer_articles",
    "article_counts",
    "article_prompts",
    "as_data",
    "calibrate_on",
    "default_extract",
    "difference",
    "evaluate_articles",
    "evaluate_world",
    "is_borrowed",
    "measure_on_texts",
    "metric_of",
    "model_scores",
    "open_article_source",
    "oracle_rate",
    "paired_test",
    "person_counts",
    "ratio_scores",
    "ratio_sums",
    "recovered_share",
    "score_facts",
    "to_data",
]
