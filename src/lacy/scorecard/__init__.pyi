from .card import (
    SCORECARD_FILE,
    ResultRow,
    Scorecard,
    SectionResult,
    columns_of,
    is_outcome,
    read_scorecard,
    result_rows,
    write_scorecard,
)
from .comparing import Comparison, MetricComparison, TextPair, compare
from .inputs import SUBJECTS, ScorecardInputs
from .measuring import Section, measure_sections, weights_of
from .sections import scorecard_sections

__all__ = [
    "SCORECARD_FILE",
    "SUBJECTS",
    "Comparison",
    "MetricComparison",
    "ResultRow",
    "Scorecard",
    "ScorecardInputs",
    "Section",
    "SectionResult",
    "TextPair",
    "columns_of",
    "compare",
    "is_outcome",
    "measure_sections",
    "read_scorecard",
    "result_rows",
    "scorecard_sections",
    "weights_of",
    "write_scorecard",
]
