from .client import OpenAIClient
from .errors import OutOfTokens, RemoteError, redact
from .http import Retries, check_url, read_key
from .loop import LoopThread
from .many import ask_many
from .sse import Chunk
from .wire import (
    LIMIT_PARAMETERS,
    REASONING_TAG,
    AcceptedParameters,
    finish_reason,
    without_reasoning,
)
from .words import word_probabilities, word_probability

__all__ = [
    "LIMIT_PARAMETERS",
    "REASONING_TAG",
    "AcceptedParameters",
    "Chunk",
    "LoopThread",
    "OpenAIClient",
    "OutOfTokens",
    "RemoteError",
    "Retries",
    "ask_many",
    "check_url",
    "finish_reason",
    "read_key",
    "redact",
    "without_reasoning",
    "word_probabilities",
    "word_probability",
]
