from .by_name import open_judge
from .overlap import OverlapJudge
from .protocol import NO_FACT, NO_PASSAGES, Claim, Judge, Judgment

__all__ = [
    "NO_FACT",
    "NO_PASSAGES",
    "Claim",
    "Judge",
    "Judgment",
    "OverlapJudge",
    "open_judge",
]
