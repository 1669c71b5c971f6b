from .database import Database
from .mapping_draft import draft_mapping
from .worker import QueryWorker

__all__ = [
    "Database",
    "QueryWorker",
    "draft_mapping",
]
