from .cleaning import CleanCounts, CleanSettings, clean_texts
from .near import NearDuplicates
from .quality import QualityModel, train_quality_model

__all__ = [
    "CleanCounts",
    "CleanSettings",
    "NearDuplicates",
    "QualityModel",
    "clean_texts",
    "train_quality_model",
]
