from .facts import Subject, load_subjects, split_subjects, write_facts
from .writing import Opening, openings, write_article, write_articles

__all__ = [
    "Opening",
    "Subject",
    "load_subjects",
    "openings",
    "split_subjects",
    "write_article",
    "write_articles",
    "write_facts",
]
