from .answer import EdgeAnswer, Varied
from .answering import can_devices_train
from .assumptions import (
    ALGORITHMS,
    DeviceClass,
    EdgeAlgorithm,
    EdgeAssumptions,
    EdgeServer,
    algorithm_of,
    assumptions_file,
    changed,
    check_assumptions,
    device_classes,
    preset_assumptions,
    read_assumptions,
)
from .by_events import simulate_by_events
from .draws import Spread
from .formulas import (
    bytes_per_step,
    days_to_train,
    devices_of_equal_rate,
    devices_to_train,
    fewer_bytes,
    training_flop,
)
from .outcome import EdgeRun
from .simulating import simulate_devices
from .wording import answer_sentences, effect, format_days
from .workload import Workload, flop_per_token, workload_of

__all__ = [
    "ALGORITHMS",
    "DeviceClass",
    "EdgeAlgorithm",
    "EdgeAnswer",
    "EdgeAssumptions",
    "EdgeRun",
    "EdgeServer",
    "Spread",
    "Varied",
    "Workload",
    "algorithm_of",
    "answer_sentences",
    "assumptions_file",
    "bytes_per_step",
    "can_devices_train",
    "changed",
    "check_assumptions",
    "days_to_train",
    "device_classes",
    "devices_of_equal_rate",
    "devices_to_train",
    "effect",
    "fewer_bytes",
    "flop_per_token",
    "format_days",
    "preset_assumptions",
    "read_assumptions",
    "simulate_by_events",
    "simulate_devices",
    "training_flop",
    "workload_of",
]
