from .card import (
    SCORECARD_FILE,
    Scorecard,
    SectionResult,
    read_scorecard,
    results_by_condition,
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
    "Scorecard",
    "ScorecardInputs",
    "Section",
    "SectionResult",
    "TextPair",
    "compare",
    "measure_sections",
    "read_scorecard",
    "results_by_condition",
    "scorecard_sections",
    "weights_of",
    "write_scorecard",
]
