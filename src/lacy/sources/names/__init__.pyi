from .function_words import PREPOSITIONS, SENTENCE_STARTERS
from .index import NameIndex, canonical, subject_key
from .linking import EntityLink, EntityLinker
from .people import PersonNames
from .spelling import normalize

__all__ = [
    "PREPOSITIONS",
    "SENTENCE_STARTERS",
    "EntityLink",
    "EntityLinker",
    "NameIndex",
    "PersonNames",
    "canonical",
    "normalize",
    "subject_key",
]
