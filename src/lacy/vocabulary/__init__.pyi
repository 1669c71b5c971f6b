from .head import Fallback, HeadUse, TailoredHead
from .tailoring import CONTEXT_TOKENS, Mode, Sizes, Tailored, tailor
from .task import DEFAULT_TOLERANCE, Counted, Vocabulary, task_vocabulary
from .trim import trim_vocabulary

__all__ = [
    "CONTEXT_TOKENS",
    "DEFAULT_TOLERANCE",
    "Counted",
    "Fallback",
    "HeadUse",
    "Mode",
    "Sizes",
    "Tailored",
    "TailoredHead",
    "Vocabulary",
    "tailor",
    "task_vocabulary",
    "trim_vocabulary",
]
