"""``lacy route serve``: several models, servers and sources behind a router, with OpenAI's API."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.serve import hosts_of, log_requests, open_records
from lacy.cli.terminal import needs_extra, note
from lacy.config import Positional, Rare, Repeated
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.route import Router
    from lacy.serve import RoutesConfig

SHARES = ("strong_share", "budget")


@dataclass
class ServeRouteConfig:
    """Serve several models behind a router, with OpenAI's API; no key is needed for local ones.

    Routes are models on this machine, models on other servers, and sources; they come from a YAML
    file, which is read again when it changes, or from --route. A client asks for the model auto to
    let the router choose, or for a route by its name. The answer says which route it took and why
    (lacy_route, X-Lacy-Route). If a route fails, takes too long or has used its budget, the next
    one is tried.
    """

    file: Positional[Path | None] = None
    """YAML file of routes: router, routes (by name: model, source, cost, per_minute,
    cost_per_minute, timeout, key_variable, decide), fallback, strong_share, budget, price, recent,
    shadow."""
    # [Routes]
    router: Path | None = None
    """Folder of lacy route fit, instead of a file."""
    route: Repeated = field(default_factory=list)
    """A route, such as small=runs/small or large=http://localhost:8080/v1#large."""
    strong_share: float | None = None
    """Largest share of requests for the most expensive route."""
    budget: float | None = None
    """Largest mean cost per request."""
    fallback: Repeated = field(default_factory=list)
    """Route that is tried next if one fails; several are tried in their order."""
    shadow: str | None = None
    """Always use this route for auto, and only log what the router would have chosen."""
    # [Server]
    host: str = "127.0.0.1"
    """Address to listen on; use --keys if other computers can reach it."""
    port: int = 8000
    """Port to listen on."""
    keys: Path | None = None
    """File of accepted API keys (lacy serve --new-key); without it, no key is needed."""
    allow_host: Rare[Repeated] = field(default_factory=list)
    """Another host name that requests may use, or * for any."""
    origin: Rare[Repeated] = field(default_factory=list)
    """Origin of web pages that may use the server (CORS)."""
    # [Models]
    max_new_tokens: int = 128
    """Maximum number of generated tokens of local models, if a request does not set it."""
    streams: Rare[int] = 16
    """Maximum number of texts that one local model generates at the same time."""
    queue: Rare[int] = 64
    """Maximum number of further texts that wait for one local model."""
    grace: Rare[float] = 10.0
    """Seconds that running texts may take to finish when the server is stopped."""
    # [Records]
    log_prompts: Rare[bool] = False
    """Write prompts to the log."""
    log_calls: Rare[Path | None] = None
    """Keep records of answers of local models in this folder; with --log-texts, users' verdicts on
    them are further cases for lacy route fit --add."""
    log_texts: Rare[bool] = False
    """Keep prompts and generated text in these records too. Tell your users."""
    log_mib: Rare[int] = 256
    """Maximum size of all records in MiB."""


FILE = False
FLAGS = ServeRouteConfig
EXAMPLES = """
lacy route serve routes.yaml
lacy route serve --router router --route small=runs/small --route large=runs/large
"""


def run(config: ServeRouteConfig) -> int:
    """Serve until stopped."""
    with needs_extra("serve", "lacy route serve"):
        from lacy.serve import (
            Keys,
            Limits,
            RouteOpener,
            RouteTable,
            Server,
            make_routes_app,
            open_socket,
            text_of,
        )

    routes, router = _routes(config)
    keys = Keys.load(config.keys) if config.keys else None
    with ExitStack() as stack:
        listening = stack.enter_context(open_socket(config.host, config.port))
        records = None
        if config.log_calls is not None:
            records = stack.enter_context(
                open_records(config.log_calls, texts=config.log_texts, mib=config.log_mib)
            )
        opener = RouteOpener(
            text_of, Limits(), records, config.streams, config.queue, config.log_prompts,
            {"max_new_tokens": config.max_new_tokens},
        )  # fmt: skip
        table = RouteTable(routes, router, config.file)
        for name in routes.routes:
            note(f"Opening {name}")
        opener.prepare(routes.routes)
        log_requests()
        hosts = hosts_of(config.host, config.allow_host, keys=keys is not None)
        app = make_routes_app(table, opener, keys=keys, hosts=hosts, origins=config.origin)
        server = Server(app, opener, grace=config.grace)
        port = listening.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        names = ", ".join(routes.routes)
        print(f"auto, {names} at http://{host}:{port}/v1; Ctrl-C stops it", file=sys.stderr)
        server.run(sockets=[listening])
    return 0


def _routes(config: ServeRouteConfig) -> tuple[RoutesConfig, Router | None]:
    """Return the checked routes and their router.

    Raises:
        LacyError: E12, there are none, or a file and flags; and those of ``RoutesConfig.check``.
    """
    from lacy.serve import RoutesConfig, read_routes, router_of, routes_of_words

    flags = [name for name in ("router", "route", "fallback", "shadow", *SHARES)
             if getattr(config, name) not in (None, [])]  # fmt: skip
    if config.file is not None:
        if flags:
            raise LacyError(
                "E12", key=flags[0], value=getattr(config, flags[0]), why="routes come from a file",
                do=f"write it into {config.file}, or leave the file out",
            )  # fmt: skip
        found = read_routes(config.file)
    elif not config.route:
        raise LacyError("E12", key="file", value=None, why="there are no routes",
                        do="give a YAML file, or --route NAME=MODEL")  # fmt: skip
    else:
        found = RoutesConfig(
            routes_of_words(config.route), None if config.router is None else str(config.router),
            config.fallback, config.strong_share, config.budget, shadow=config.shadow,
        )  # fmt: skip
    router = router_of(found, config.file)
    found.check(str(config.file or "--route"), router)
    return found, router
