from .function_words import PREPOSITIONS, SENTENCE_STARTERS
from .index import NameIndex, canonical, subject_key
from .linking import EntityLink, EntityLinker
from .spelling import normalize

__all__ = [
    "PREPOSITIONS",
    "SENTENCE_STARTERS",
    "EntityLink",
    "EntityLinker",
    "NameIndex",
    "canonical",
    "normalize",
    "subject_key",
]
