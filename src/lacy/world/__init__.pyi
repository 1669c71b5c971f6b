from .mistakes import values_by_relation, wrong_value, wrong_values
from .people import RELATIONS, Person
from .reading import Claim
from .world import Split, World, load_world, make_world

__all__ = [
    "RELATIONS",
    "Claim",
    "Person",
    "Split",
    "World",
    "load_world",
    "make_world",
    "values_by_relation",
    "wrong_value",
    "wrong_values",
]
