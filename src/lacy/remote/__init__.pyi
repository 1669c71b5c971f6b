from .http import Failure, checked_url, post, read_key, whole
from .loop import LoopThread
from .sse import Piece, events, pieces
from .wire import (
    THOUGHT_TAG,
    THOUGHT_TOKENS,
    Accepted,
    finish_of,
    plain,
    text_of,
    told_error,
    unthought,
)

__all__ = [
    "THOUGHT_TAG",
    "THOUGHT_TOKENS",
    "Accepted",
    "Failure",
    "LoopThread",
    "Piece",
    "checked_url",
    "events",
    "finish_of",
    "pieces",
    "plain",
    "post",
    "read_key",
    "text_of",
    "told_error",
    "unthought",
    "whole",
]
