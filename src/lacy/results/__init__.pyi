from .answers import AnswerStore, answer_key
from .comparing import (
    EXACT_UNITS,
    difference,
    paired_test,
    recovered_share,
)
from .measurement import (
    Measurement,
    Result,
    Task,
    results_of,
    to_data,
)
from .metrics import (
    METRICS,
    MODEL_METRICS,
    RATIOS,
    Metric,
    metric_of,
    model_scores,
    ratio_scores,
    ratio_sums,
)
from .roc import (
    auroc,
)
from .statistics import (
    CONFIDENCE,
    NO_DATA,
    RESAMPLES,
    Score,
    as_data,
    ratio,
    score_sums,
)

__all__ = [
    "CONFIDENCE",
    "EXACT_UNITS",
    "METRICS",
    "MODEL_METRICS",
    "NO_DATA",
    "RATIOS",
    "RESAMPLES",
    "AnswerStore",
    "Measurement",
    "Metric",
    "Result",
    "Score",
    "Task",
    "answer_key",
    "as_data",
    "auroc",
    "difference",
    "metric_of",
    "model_scores",
    "paired_test",
    "ratio",
    "ratio_scores",
    "ratio_sums",
    "recovered_share",
    "results_of",
    "score_sums",
    "to_data",
]
