from .database import Database
from .mapping_draft import draft
from .turns import Turns

__all__ = [
    "Database",
    "Turns",
    "draft",
]
