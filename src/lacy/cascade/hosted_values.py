"""Keep a source's values whole if the model runs behind a server (see ``whole_values``)."""

from __future__ import annotations

from dataclasses import replace

from lacy.cascade.hosted_server import CompletionServer, HostedToken
from lacy.cascade.token_beginnings import continues


def without_beginning(own: HostedToken, beginning: str, server: CompletionServer) -> HostedToken:
    """Return ``own``, or the likeliest reported token if ``own`` has a forbidden beginning.

    If all reported tokens have that beginning, ``own`` is returned.
    """

    def forbidden(token: int) -> bool:
        return continues(server.token_text.bytes_of(token), beginning)

    if own.token in server.ends or not forbidden(own.token):
        return own
    others = [
        (logp, -token)  # of equal tokens, the one that argmax takes
        for token, logp in own.top.items()
        if token not in server.unspoken and (token in server.ends or not forbidden(token))
    ]
    if not others:
        return own
    return replace(own, token=-max(others)[1])
