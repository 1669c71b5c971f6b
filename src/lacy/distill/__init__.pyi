from .distilling import Distilled, DistillRun, distill
from .divergence import Predictions, RowPredictions, divergence
from .loss import DistillLoss
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
    "Predictions",
    "RowPredictions",
    "StoredTeacher",
    "Teacher",
    "distill",
    "divergence",
    "store_teacher",
]
