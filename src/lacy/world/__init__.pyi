from .mistakes import values_by_relation, wrong_value, wrong_values
from .people import RELATIONS, Person
from .reading import StatedFact
from .world import Split, World, load_world, make_world

__all__ = [
    "RELATIONS",
    "Person",
    "Split",
    "StatedFact",
    "World",
    "load_world",
    "make_world",
    "values_by_relation",
    "wrong_value",
    "wrong_values",
]
