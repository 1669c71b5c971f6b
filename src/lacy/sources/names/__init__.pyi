from .function_words import DATES, FOLLOW, LEAD, LEAD_ABROAD, PREPOSITIONS, TITLES
from .index import NameIndex, plain, same
from .linking import Link, Linker, normal

__all__ = [
    "DATES",
    "FOLLOW",
    "LEAD",
    "LEAD_ABROAD",
    "PREPOSITIONS",
    "TITLES",
    "Link",
    "Linker",
    "NameIndex",
    "normal",
    "plain",
    "same",
]
