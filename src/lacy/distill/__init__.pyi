from .calls import calls_objective
from .distilling import Distilled, distill, estimate
from .divergence import Predictions, RowPredictions, divergence
from .loss import DistillLoss
from .on_policy import OnPolicy, distill_on_policy
from .prepare import DistillRun
from .settings import DistillSettings, Divergence, Imitate
from .stored import StoredTeacher, store_teacher
from .teachers import LiveTeacher, Teacher

__all__ = [
    "DistillLoss",
    "DistillRun",
    "DistillSettings",
    "Distilled",
    "Divergence",
    "Imitate",
    "LiveTeacher",
    "OnPolicy",
    "Predictions",
    "RowPredictions",
    "StoredTeacher",
    "Teacher",
    "calls_objective",
    "distill",
    "distill_on_policy",
    "divergence",
    "estimate",
    "store_teacher",
]
