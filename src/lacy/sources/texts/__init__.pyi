from .documents import Documents
from .indexing import BuildReport, default_annotator
from .origins import MissingDocuments, Origin, count_documents
from .passages import marked_values
from .subjects import subject_of

__all__ = [
    "BuildReport",
    "Documents",
    "MissingDocuments",
    "Origin",
    "count_documents",
    "default_annotator",
    "marked_values",
    "subject_of",
]
