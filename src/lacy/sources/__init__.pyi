from .by_name import open_source, open_sources
from .cached import Cached
from .contract import check_source
from .db.database import Database
from .models.language_model import LanguageModel
from .protocol import DEFAULT_TIMEOUT, Source, TokenPrice, guarded, price_of, wrapped_sources
from .scripted import ScriptedSource
from .truth import Truth
from .units import continuation, fact_sentence, relation_words
from .wrappers import Breaker, Chain, Metered, SourceUsage

__all__ = [
    "DEFAULT_TIMEOUT",
    "Breaker",
    "Cached",
    "Chain",
    "Database",
    "LanguageModel",
    "Metered",
    "ScriptedSource",
    "Source",
    "SourceUsage",
    "TokenPrice",
    "Truth",
    "check_source",
    "continuation",
    "fact_sentence",
    "guarded",
    "open_source",
    "open_sources",
    "price_of",
    "relation_words",
    "wrapped_sources",
]
