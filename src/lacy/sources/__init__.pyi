from .contract import check_source
from .db.database import Database
from .models.language_model import LanguageModel
from .opening import open_source, open_sources
from .protocol import DEFAULT_TIMEOUT, Source, TokenPrice, guarded, price_of, wrapped_sources
from .resilience import Breaker, Chain, Metered, Usage
from .scripted import ScriptedSource
from .truth import Truth
from .units import continuation

__all__ = [
    "DEFAULT_TIMEOUT",
    "Breaker",
    "Chain",
    "Database",
    "LanguageModel",
    "Metered",
    "ScriptedSource",
    "Source",
    "TokenPrice",
    "Truth",
    "Usage",
    "check_source",
    "continuation",
    "guarded",
    "open_source",
    "open_sources",
    "price_of",
    "wrapped_sources",
]
