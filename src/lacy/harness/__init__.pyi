from .lm import LacyLM
from .run import run_tasks
from .task_results import TaskAnswers, TasksMeasured

__all__ = ["LacyLM", "TaskAnswers", "TasksMeasured", "run_tasks"]
