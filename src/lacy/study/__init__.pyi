from .checks import check_plan, read_plan
from .plan import StudyPlan, planned_runs, required_methods
from .processes import default_workers, workers
from .runner import Board, Job, jobs_of, progress_of, run_study
from .tables import POOLED, write_tables

__all__ = [
    "POOLED",
    "Board",
    "Job",
    "StudyPlan",
    "check_plan",
    "default_workers",
    "jobs_of",
    "planned_runs",
    "progress_of",
    "read_plan",
    "required_methods",
    "run_study",
    "workers",
    "write_tables",
]
