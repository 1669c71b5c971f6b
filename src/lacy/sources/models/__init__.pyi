from .endpoint import Endpoint
from .language_model import LanguageModel
from .llm_models import LlmModel

__all__ = [
    "Endpoint",
    "LanguageModel",
    "LlmModel",
]
