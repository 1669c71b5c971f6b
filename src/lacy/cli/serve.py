"""``lacy serve``: a model and its source behind the API that OpenAI clients speak."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ..errors import LacyError
from . import calibration
from .verb import REPEATS, Repeated, room, settings

if TYPE_CHECKING:
    from ..cascade import Engine
    from ..serve import Keys, Limits

PROMPTS = 5
"""Prompts that the page offers where the source is a world."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

DAY = 86_400.0
LARGE = 2**31 - 1
BOUNDS: dict[str, tuple[float, float]] = {
    "calibrate": (0, LARGE),
    "port": (0, 65535),
    "max_new_tokens": (1, LARGE),
    "most_new_tokens": (1, LARGE),
    "temperature": (0, 2),
    "timeout": (0.001, DAY),
    "streams": (1, LARGE),
    "queue": (0, LARGE),
    "body_kib": (1, LARGE),
    "connections": (1, LARGE),
    "per_minute": (0.001, LARGE),
    "grace": (0, DAY),
}
"""Least and most of each number, so that a slip is told of before the model is loaded."""


@dataclass
class ServeConfig:
    """Serves a model over HTTP: OpenAI's completions and chats, with who said what beside them."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run; a policy may follow a colon: runs/mine:budget=0.22. Or
    http://host:port/v1#name of one that another engine holds (see --tokenizer)."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """Who answers calls, as in `lacy generate`; several are asked in their order."""
    cache: Path | None = None
    """File in which answers of language models are kept, as in `lacy generate`."""
    price: Repeated = field(default_factory=list, metadata=REPEATS)
    """Of a million tokens, as in `lacy generate`; receipts and /v1/lacy show the costs."""
    policy: str | None = None
    """When to call, where a request says nothing; by default as in `lacy generate`."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns, where a request says nothing."""
    calibrate: int = calibration.TEXTS
    """Read the model along so many texts of its source first, as in `lacy generate`."""
    tokenizer: Path | None = None
    """Of a model at a server: its folder here; the weights in it are not read."""
    host: str = "127.0.0.1"
    """Address to listen at. Anything but this computer's own should have --keys."""
    port: int = 8000
    """Port to listen at."""
    allow_host: Repeated = field(default_factory=list, metadata=REPEATS)
    """Another name by which the server may be called (of a proxy or a container: --allow-host
    lacy.example); * for any. Without --keys, a server at this computer's own address answers to
    localhost and 127.0.0.1 only, so that no web page reaches it."""
    origin: Repeated = field(default_factory=list, metadata=REPEATS)
    """A web page elsewhere that may ask from a browser (CORS): --origin https://chat.example; * for
    any page."""
    name: str | None = None
    """What clients call the model; by default its folder's name, or that at its server."""
    max_new_tokens: int = 128
    """Tokens per answer, where a request says nothing."""
    most_new_tokens: int = 1024
    """Most tokens that a request may ask for."""
    temperature: float = 0.0
    """Where a request says nothing."""
    timeout: float = 30.0
    """Seconds to wait for the source; then the model goes on in its own words."""
    streams: int = 32
    """Texts written at the same time."""
    queue: int = 64
    """Further texts that may wait; beyond these a client is told to come back (429)."""
    body_kib: int = 1024
    """Largest request, in KiB."""
    connections: int | None = None
    """Connections at once; by default as many as there are file descriptors for, up to 1024."""
    keys: Path | None = None
    """File of accepted API keys; without one, whoever reaches the server may ask."""
    new_key: str | None = None
    """Add a key of this name to --keys, print it once, and leave."""
    per_minute: float | None = None
    """Texts per minute that the new key may ask for (prompts times n); by default any number."""
    grace: float = 10.0
    """Seconds that texts have to finish when the server is stopped."""
    log_prompts: bool = False
    """Write prompts into the log. By default it holds no words of anybody."""


SETTINGS = ServeConfig
EXAMPLE = """
lacy serve runs/mine --source world
"""


def main(argv: Sequence[str]) -> int:
    """Serves until it is stopped."""
    config = settings(ServeConfig, argv, "serve", EXAMPLE)
    _check(config)
    room("serve.app", extra="serve", what="lacy serve")
    from ..serve import Keys, Scheduler, Server, make_app
    from ..serve.server import open_socket

    if config.new_key is not None:
        return _new_key(config)
    limits = _limits(config)
    keys = Keys.load(config.keys) if config.keys else None
    with open_socket(config.host, config.port) as place:  # before the model: it fails sooner
        engine, name = _engine(config)
        _log()
        with Scheduler(engine, streams=config.streams, queue=config.queue) as scheduler:
            app = make_app(
                scheduler,
                name,
                limits=limits,
                keys=keys,
                log_prompts=config.log_prompts,
                hosts=_hosts(config),
                origins=config.origin,
                prompts=_prompts(config.source),
            )
            server = Server(app, scheduler, grace=config.grace)
            _say(config, name, str(engine.policy), place.getsockname()[1], keys)
            server.run(sockets=[place])
    return 0


def _check(config: ServeConfig) -> None:
    """Numbers within their bounds, and no flag that would be passed over.

    Raises:
        LacyError: E12, one is not.
    """
    for key, (least, most) in BOUNDS.items():
        value = getattr(config, key)
        if value is not None and not least <= value <= most:  # nor is NaN
            why = f"it is at least {least:g}" + (f", at most {most:,.0f}" if most < LARGE else "")
            do = f"give another: --{key.replace('_', '-')} {getattr(ServeConfig, key) or 60}"
            raise LacyError("E12", key=key, value=value, why=why, do=do)
    for name in config.allow_host:
        if not re.fullmatch(r"\*|\[?[\w.:-]+\]?", name) or name.count(":") == 1:
            raise LacyError(
                "E12", key="allow_host", value=name, why="a name has no address before and no port "
                "behind it", do="give a name alone: --allow-host lacy.example",
            )  # fmt: skip
    for origin in config.origin:
        if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s?#@]+/?", origin, re.IGNORECASE):
            raise LacyError(
                "E12", key="origin", value=origin, why="an origin is a scheme and a host, perhaps "
                "with a port", do="give it as the browser shows it: --origin https://chat.example",
            )  # fmt: skip
    if config.per_minute is not None and config.new_key is None:
        raise LacyError(
            "E12", key="per_minute", value=config.per_minute, why="it is of a new key, by itself "
            "it limits nobody", do="add a key with it: --keys keys.json --new-key NAME",
        )  # fmt: skip


def _limits(config: ServeConfig) -> Limits:
    """Bounds of the server.

    Raises:
        LacyError: E12, more connections than there are file descriptors for.
    """
    from ..serve.limits import Limits, affordable

    bounds = {"body_bytes": config.body_kib * 1024, "max_new_tokens": config.most_new_tokens}
    if config.connections is None:
        return Limits(**bounds)
    if config.connections > (most := affordable()):
        raise LacyError(
            "E12", key="connections", value=config.connections,
            why=f"this process has file descriptors for {most:,}",
            do=f"raise its limit first (ulimit -n {config.connections * 2 + 64}), "
            f"or give --connections {most}",
        )  # fmt: skip
    return Limits(**bounds, connections=config.connections)


def _hosts(config: ServeConfig) -> Sequence[str] | None:
    """Names by which the server may be called; None: any."""
    if "*" in config.allow_host:
        return None
    given = [name.strip("[] ").lower() for name in config.allow_host]
    if given:
        return [*LOOPBACK, *given]
    return LOOPBACK if config.host in LOOPBACK and config.keys is None else None


def _engine(config: ServeConfig) -> tuple[Engine, str]:
    """The model with its source, and what clients call it."""
    from ..sources.opening import open_sources
    from .hosting import at_a_server, name_of, open_model
    from .policies import split_policy, told_policy

    path, travelling = split_policy(config.model)
    name = name_of(path) if config.name is None else config.name
    if not name or ":" in name:
        raise LacyError(
            "E12", key="name", value=name,
            why="a policy follows a colon, so a name has none" if name else "the model has none",
            do="give another: --name mine",
        )  # fmt: skip
    loaded, engine_of = open_model(path, config.tokenizer)
    source = open_sources(
        config.source, cache=config.cache, prices=config.price, seconds=config.timeout * 5 / 6
    )
    policy = told_policy(config.policy or travelling, source, loaded.meta)
    engine = engine_of(
        loaded,
        source,
        policy,
        unit=config.unit,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        timeout=config.timeout,
        # a request may bring a policy that calls, even where the default never does
        calibration=calibration.from_source(
            loaded, None if at_a_server(path) else config.source, config.calibrate
        ),
    )
    return engine, name


def _prompts(sources: Sequence[str]) -> list[str]:
    """Beginnings of texts that the page offers: people of the first world among the sources."""
    worlds = [source for source in sources if (Path(source) / "world.json").is_file()]
    if not worlds:
        return []
    from ..corpus.world import load_world

    return load_world(worlds[0]).prompts(limit=PROMPTS)


def _new_key(config: ServeConfig) -> int:
    """Adds a key to the file and prints it."""
    from ..serve import Keys

    if config.keys is None:
        do = f"give one: lacy serve MODEL --keys keys.json --new-key {config.new_key}"
        raise LacyError("E12", key="keys", value=None, why="no file for the new key", do=do)
    keys = Keys.load(config.keys) if config.keys.exists() else Keys([])
    assert config.new_key is not None
    print(keys.add(config.keys, config.new_key, config.per_minute))
    print(f"Shown only now; {config.keys} holds its hash.", file=sys.stderr)
    return 0


def _log() -> None:
    """One line of JSON per request on the standard error."""
    log = logging.getLogger("lacy.serve")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)


def _say(config: ServeConfig, name: str, policy: str, port: int, keys: Keys | None) -> None:
    """Where to reach it, and a warning where anybody can."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"{name} ({policy}) at http://{host}:{port}/v1; Ctrl-C stops it", file=sys.stderr)
    print(f"A page to try it: http://{host}:{port}/", file=sys.stderr)
    if keys and not keys.keys:
        print(f"Warning: {config.keys} holds no key, so nobody can ask.", file=sys.stderr)
    if config.host not in LOOPBACK:
        open_to = "whoever has a key" if keys else "anybody, without a key (--keys)"
        line = f"Warning: {config.host} can be reached from other computers, by {open_to};"
        print(f"{line} put TLS in front of it.", file=sys.stderr)
