from .annotate import SpacyAnnotator, encode
from .cascade import Engine, open_engine
from .corpus import PackedData, load_tokenizer, read, train_tokenizer
from .errors import LacyError
from .model import load_model
from .sources import Database, LanguageModel
from .types import Answer, Document, Mark, Span
from .world import make_world

__version__: str
__all__ = [
    "Answer",
    "Database",
    "Document",
    "Engine",
    "LacyError",
    "LanguageModel",
    "Mark",
    "PackedData",
    "SpacyAnnotator",
    "Span",
    "encode",
    "load_model",
    "load_tokenizer",
    "make_world",
    "open_engine",
    "read",
    "train_tokenizer",
]
