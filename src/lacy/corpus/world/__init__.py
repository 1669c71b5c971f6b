"""The made-up world: people, their facts, biographies in free wording, and the truth."""

from lacy.corpus.world.people import RELATIONS, Person
from lacy.corpus.world.reading import Claim
from lacy.corpus.world.world import Split, World, load_world, make_world

__all__ = ["RELATIONS", "Claim", "Person", "Split", "World", "load_world", "make_world"]
