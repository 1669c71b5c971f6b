"""The page at ``/``: files that hold no secret, with headers that keep it to its own server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

SCRIPTS = (
    "address", "detail", "dom", "page", "pane", "receipt", "sources", "speakers", "stream",
    "unconfirmed",
)  # fmt: skip
"""Modules, without a build step."""

FILES = {
    "/": ("index.html", "text/html"),
    "/page/design.css": ("design.css", "text/css"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/page/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
}
"""By path: the file and its kind. They need no key, as they tell nothing of the model."""

PAGE = files("lacy.serve") / "page"

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing inline, nothing from elsewhere, in nobody's frame; form-action: scripts alone send."""


def add_page(app: FastAPI) -> None:
    """Serve the page's files, read once."""
    for path, (name, kind) in FILES.items():
        sender = _sender(read(name), kind)
        app.add_api_route(path, sender, methods=["GET", "HEAD"], include_in_schema=False)


def read(name: str) -> bytes:
    """A file of the page, which shares its design with the reports."""
    folder = files("lacy.report") / "templates" if name == "design.css" else PAGE
    return (folder / name).read_bytes()


def _sender(data: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(data, media_type=kind, headers=HEADERS)

    return send
