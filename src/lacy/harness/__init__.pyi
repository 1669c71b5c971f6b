from .lm import LacyLM
from .run import quiet_harness, run_tasks
from .task_results import TaskAnswers, TaskRuns, TasksMeasured

__all__ = [
    "LacyLM",
    "TaskAnswers",
    "TaskRuns",
    "TasksMeasured",
    "quiet_harness",
    "run_tasks",
]
