from .documents import Documents
from .finding import finder
from .index import BuildReport
from .origins import Lost, Root, count_of

__all__ = [
    "BuildReport",
    "Documents",
    "Lost",
    "Root",
    "count_of",
    "finder",
]
