from .energy import EnergyMeter
from .measure import Efficiency, EfficiencyMeasured, Load
from .memory import PeakMemory, peak_memory, resident
from .operations import Operations, count_operations
from .price import RateCard
from .privacy import PrivacyBudget, privacy_of
from .sizes import (
    FileSizes,
    MemorySizes,
    ParameterCounts,
    bits_per_weight,
    compression_ratio,
    file_sizes,
    memory_sizes,
    parameter_counts,
)
from .timing import Timing, Timings, quantile, time_requests, timed_prompts

__all__ = [
    "Efficiency",
    "EfficiencyMeasured",
    "EnergyMeter",
    "FileSizes",
    "Load",
    "MemorySizes",
    "Operations",
    "ParameterCounts",
    "PeakMemory",
    "PrivacyBudget",
    "RateCard",
    "Timing",
    "Timings",
    "bits_per_weight",
    "compression_ratio",
    "count_operations",
    "file_sizes",
    "memory_sizes",
    "parameter_counts",
    "peak_memory",
    "privacy_of",
    "quantile",
    "resident",
    "time_requests",
    "timed_prompts",
]
