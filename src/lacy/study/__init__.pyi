from .drawing import COLOURS, sheet
from .pages import report_html
from .plan import StudyPlan, needs, planned_runs, read_plan
from .processes import default_workers, workers
from .runner import Board, Job, jobs_of, progress_of, run_study
from .tables import POOLED, write_tables

__all__ = [
    "COLOURS",
    "POOLED",
    "Board",
    "Job",
    "StudyPlan",
    "default_workers",
    "jobs_of",
    "needs",
    "planned_runs",
    "progress_of",
    "read_plan",
    "report_html",
    "run_study",
    "sheet",
    "workers",
    "write_tables",
]
