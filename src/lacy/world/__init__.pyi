from .mistakes import mistaken, other_value, pools
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
    "mistaken",
    "other_value",
    "pools",
]
