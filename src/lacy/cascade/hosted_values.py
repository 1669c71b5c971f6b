"""Keep a source's values whole if the model runs behind a server (see ``whole_values``)."""

from __future__ import annotations

from dataclasses import replace

from lacy.cascade.hosted_server import CompletionServer, HostedToken
from lacy.cascade.token_beginnings import continues


def without_beginning(own: HostedToken, beginning: str, server: CompletionServer) -> HostedToken:
    """Return ``own``, or the likeliest reported token if ``own`` has a forbidden beginning.

    If all reported tokens have that beginning, ``own`` is returned.
    """

    def forbidden(token: int, text: str | None = None) -> bool:
        known = server.token_text.bytes_of(token) if text is None else text.encode()
        return continues(known, beginning)

    if own.token in server.ends or not forbidden(own.token, own.text):
        return own
    others = [
        (logp, token)
        for token, logp in own.top.items()
        if token not in server.unspoken and (token in server.ends or not forbidden(token))
    ]
    if not others:
        return own
    token = max(others)[1]
    text = None if own.text is None else server.token_text.decode([token])
    return replace(own, token=token, text=text)
