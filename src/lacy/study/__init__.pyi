from .article_plan import ArticleStudyPlan
from .article_tables import write_tables
from .checks import check_plan, read_plan
from .jobs import jobs_of
from .plan import StudyPlan, planned_runs, required_methods
from .processes import default_workers, workers
from .runner import Board, Job, run_jobs
from .tables import POOLED

__all__ = [
    "POOLED",
    "ArticleStudyPlan",
    "Board",
    "Job",
    "StudyPlan",
    "check_plan",
    "default_workers",
    "jobs_of",
    "planned_runs",
    "read_plan",
    "required_methods",
    "run_jobs",
    "workers",
    "write_tables",
]
