from .head import Fallback, HeadUse, TailoredHead
from .measure import VocabularyFigures, measure_vocabulary
from .memory import StageMemory, memory_by_stage
from .tailoring import (
    CONTEXT_TOKENS,
    Mode,
    Sizes,
    Tailored,
    is_tailored,
    open_vocabulary,
    parse_fallback,
    tailor,
)
from .task import DEFAULT_TOLERANCE, Counted, Vocabulary, task_vocabulary
from .trim import check_trim, trim_vocabulary

__all__ = [
    "CONTEXT_TOKENS",
    "DEFAULT_TOLERANCE",
    "Counted",
    "Fallback",
    "HeadUse",
    "Mode",
    "Sizes",
    "StageMemory",
    "Tailored",
    "TailoredHead",
    "Vocabulary",
    "VocabularyFigures",
    "check_trim",
    "is_tailored",
    "measure_vocabulary",
    "memory_by_stage",
    "open_vocabulary",
    "parse_fallback",
    "tailor",
    "task_vocabulary",
    "trim_vocabulary",
]
