"""How likely the SLM found each token, in OpenAI's two shapes."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence
from typing import Any

from lacy.cascade import ScoredSpan, TokenScore
from lacy.types import Span

LEAST = -9999.0
"""Given where the model rules a token out, as JSON has no infinities (OpenAI's number for it)."""


def of_completion(pieces: Sequence[Span], offset: int, top: int) -> dict[str, Any]:
    """``logprobs`` of a completion.

    Args:
        pieces: what is told of.
        offset: characters of the answer before them.
        top: 0 leaves the likeliest tokens out; else they stand there beside the spoken one.
    """
    tokens: list[str] = []
    logprobs: list[float | None] = []
    likeliest: list[dict[str, float] | None] = []
    places: list[int] = []
    for piece in pieces:
        if isinstance(piece, ScoredSpan):
            places += [offset + place for place in _places(piece)]
            for score in piece.scores:
                tokens.append(_shown(score.text))
                logprobs.append(_finite(score.logprob))
                likeliest.append(_likeliest(score))
        offset += len(piece.text)
    return {
        "tokens": tokens,
        "token_logprobs": logprobs,
        "top_logprobs": likeliest if top else None,
        "text_offset": places,
    }


def of_chat(pieces: Sequence[Span]) -> dict[str, Any]:
    """``logprobs`` of a chat's message, without the token that ended it (as OpenAI's)."""
    said = [p for p in pieces if isinstance(p, ScoredSpan) and (p.text or p.tokens)]
    scored = [score for piece in said for score in piece.scores]
    content = [
        _token(score.text, score.logprob)
        | {"top_logprobs": [_token(text, logprob) for text, logprob in score.top]}
        for score in scored
    ]
    return {"content": content, "refusal": None}


def _token(text: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": _shown(text), "logprob": _finite(logprob), "bytes": list(text)}


def _likeliest(score: TokenScore) -> dict[str, float] | None:
    """The likeliest tokens and the spoken one; of equal texts the likelier token."""
    if score.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, logprob in (*score.top, (score.text, score.logprob)):
        found.setdefault(_shown(text), _finite(logprob) or 0.0)
    return found


def _places(piece: ScoredSpan) -> list[int]:
    """Where in a piece's text its tokens begin."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    raw = b"".join(score.text for score in piece.scores)
    # some tokenizers begin every text with a space that is not there
    extra = raw.startswith(b" ") and not piece.text.startswith(" ")
    places, done = [], -int(extra)
    for score in piece.scores:
        places.append(min(max(done, 0), len(piece.text)))
        done += len(decoder.decode(score.text))
    return places


def _shown(text: bytes) -> str:
    """A token's text; where that is no text, its bytes as OpenAI writes them."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)


def _finite(logprob: float | None) -> float | None:
    if logprob is None or math.isnan(logprob):
        return None
    return max(logprob, LEAST)
