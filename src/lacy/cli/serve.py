"""``lacy serve``: serve a model and its source through OpenAI's API."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy import cascade
from lacy.cli.options import EngineOptions
from lacy.cli.terminal import needs_extra
from lacy.config import Rare, Repeated
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cascade import Engine
    from lacy.decide import Decider
    from lacy.records import RecordLog
    from lacy.serve import Keys, Limits

PROMPTS = 5
"""Number of example prompts on the page if the source is a world."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Host names that only this computer can reach."""

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
    "log_mib": (1, LARGE),
}
"""Minimum and maximum of each number; they are checked before the model is loaded."""


@dataclass
class ServeConfig(EngineOptions):
    """Serve a model over HTTP with OpenAI's API; responses also say which words come from sources.

    MODEL may also be the address of a model on another server: http://host:port/v1#name.
    """

    # [Generation]
    max_new_tokens: int = 128
    """Maximum number of generated tokens, if a request does not set it."""
    most_new_tokens: Rare[int] = 1024
    """Maximum number of tokens that a request may ask for."""
    temperature: float = 0.0
    """Sampling temperature, if a request does not set it."""
    timeout: float = 30.0
    """Seconds to wait for the source; after that the model continues by itself."""

    # [Server]
    host: str = "127.0.0.1"
    """Address to listen on; use --keys if other computers can reach it."""
    port: int = 8000
    """Port to listen on."""
    name: str | None = None
    """Name of the model for clients; by default that of its folder or on its server."""
    keys: Path | None = None
    """File of accepted API keys; without it, no key is needed."""
    new_key: str | None = None
    """Add a key with this name to --keys, print it once, and exit."""
    per_minute: Rare[float | None] = None
    """Rate limit of the new key in texts (prompts times n) per minute; by default unlimited."""
    allow_host: Rare[Repeated] = field(default_factory=list)
    """Another host name that requests may use, such as that of a proxy or container, or * for any.
    Without --keys, a server at 127.0.0.1 accepts only localhost and 127.0.0.1, so that no web page
    can reach it."""
    origin: Rare[Repeated] = field(default_factory=list)
    """Origin of web pages that may use the server (CORS), such as https://chat.example; * for
    any."""

    # [Limits]
    streams: int = 32
    """Maximum number of texts that are generated at the same time."""
    queue: Rare[int] = 64
    """Maximum number of further texts that wait; further requests get status 429."""
    body_kib: Rare[int] = 1024
    """Maximum size of a request body in KiB."""
    connections: Rare[int | None] = None
    """Maximum number of open connections; by default what the file descriptors allow, up to
    1024."""
    grace: Rare[float] = 10.0
    """Seconds that running texts may take to finish when the server is stopped."""

    # [Decisions]
    decide: Path | None = None
    """Folder of lacy decide fit that answers /v1/systemone; by default the model's likelihoods do,
    which are not calibrated."""

    # [Output]
    log_prompts: bool = False
    """Write prompts to the log, which by default contains no prompts or answers."""

    # [Records]
    log_calls: Path | None = None
    """Keep records of answers in this folder, for lacy data loop: which spans come from sources,
    which calls had no answer and why, and what users mark as wrong. No prompts and no generated
    text."""
    log_texts: bool = False
    """Keep prompts and generated text in these records too; tuning needs them. Tell your users."""
    log_mib: Rare[int] = 256
    """Maximum size of all records in MiB; beyond it, the oldest are deleted."""


FLAGS = ServeConfig
EXAMPLES = """
lacy serve runs/mine --source world
"""


def run(config: ServeConfig) -> int:
    """Serve until stopped."""
    _check(config)
    with needs_extra("serve", "lacy serve"):
        from lacy.serve import Keys, Scheduler, Server, make_app, open_socket

    if config.new_key is not None:
        return _new_key(config)
    limits = _limits(config)
    keys = Keys.load(config.keys) if config.keys else None
    # Before the model is loaded, so that an error comes early.
    with ExitStack() as stack:
        listening = stack.enter_context(open_socket(config.host, config.port))
        records = None
        if config.log_calls is not None:
            records = stack.enter_context(
                open_records(config.log_calls, texts=config.log_texts, mib=config.log_mib)
            )
        engine, name = _open(config)
        decider = _decider(config, engine) if config.decide else None
        log_requests()
        with Scheduler(engine, streams=config.streams, queue=config.queue) as scheduler:
            app = make_app(
                scheduler,
                name,
                limits=limits,
                keys=keys,
                log_prompts=config.log_prompts,
                hosts=hosts_of(config.host, config.allow_host, keys=keys is not None),
                origins=config.origin,
                prompts=_prompts(config.source),
                records=records,
                decider=decider,
            )
            server = Server(app, scheduler, grace=config.grace)
            _print_address(config, name, str(engine.policy), listening.getsockname()[1], keys)
            if records is not None:
                _print_records(records)
            server.run(sockets=[listening])
    return 0


def _check(config: ServeConfig) -> None:
    """Check that the flags have valid values and that none would be ignored.

    Raises:
        LacyError: E12, a flag has a wrong value or no effect.
    """
    for key, (smallest, largest) in BOUNDS.items():
        value = getattr(config, key)
        if value is not None and not smallest <= value <= largest:  # NaN is refused too
            why = f"it must be at least {smallest:g}"
            why += f" and at most {largest:,.0f}" if largest < LARGE else ""
            do = f"give another: --{key.replace('_', '-')} {getattr(ServeConfig, key) or 60}"
            raise LacyError("E12", key=key, value=value, why=why, do=do)
    for name in config.allow_host:
        if not re.fullmatch(r"\*|\[?[\w.:-]+\]?", name) or name.count(":") == 1:
            raise LacyError(
                "E12", key="allow_host", value=name, why="a host name contains no scheme and no "
                "port", do="give only the name: --allow-host lacy.example",
            )  # fmt: skip
    for origin in config.origin:
        if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s?#@]+/?", origin, re.IGNORECASE):
            raise LacyError(
                "E12", key="origin", value=origin, why="an origin is a scheme and a host, "
                "optionally with a port",
                do="give it as the browser shows it: --origin https://chat.example",
            )  # fmt: skip
    if config.log_texts and config.log_calls is None:
        raise LacyError(
            "E12", key="log_texts", value=True, why="no records are kept",
            do="name their folder: --log-calls records --log-texts",
        )  # fmt: skip
    if config.per_minute is not None and config.new_key is None:
        raise LacyError(
            "E12", key="per_minute", value=config.per_minute, why="it applies only to a new key",
            do="add a key with it: --keys keys.json --new-key NAME",
        )  # fmt: skip


def _limits(config: ServeConfig) -> Limits:
    """Return the limits of the server.

    Raises:
        LacyError: E12, --connections is more than the file descriptors allow.
    """
    from lacy.serve import Limits, affordable_connections

    bounds = {"body_bytes": config.body_kib * 1024, "max_new_tokens": config.most_new_tokens}
    if config.connections is None:
        return Limits(**bounds)
    if config.connections > (most := affordable_connections()):
        raise LacyError(
            "E12", key="connections", value=config.connections,
            why=f"this process has file descriptors for only {most:,}",
            do=f"raise the limit first (ulimit -n {config.connections * 2 + 64}), "
            f"or use --connections {most}",
        )  # fmt: skip
    return Limits(**bounds, connections=config.connections)


def hosts_of(host: str, allow_host: Sequence[str], *, keys: bool) -> Sequence[str] | None:
    """Return the host names that requests may use; None if any."""
    if "*" in allow_host:
        return None
    given = [name.strip("[] ").lower() for name in allow_host]
    if given:
        return [*LOOPBACK, *given]
    return LOOPBACK if host in LOOPBACK and not keys else None


def _open(config: ServeConfig) -> tuple[Engine, str]:
    """Return the engine and the model's name for clients."""
    path, _ = cascade.split_policy(config.model)
    name = cascade.model_name(path) if config.name is None else config.name
    if not name or ":" in name:
        raise LacyError(
            "E12", key="name", value=name,
            why="a name must not contain a colon, as a policy follows one" if name
            else "the model has no name",
            do="give another: --name mine",
        )  # fmt: skip
    return config.open(temperature=config.temperature, timeout=config.timeout), name


def _decider(config: ServeConfig, engine: Engine) -> Decider:
    """Open the head for typed decisions, with the model if it needs one."""
    from lacy.decide import open_decider

    model = engine.model if engine.hosted is None else None
    return open_decider(model, engine.tokenizer, head=config.decide, call_id=engine.call_id)


def open_records(folder: Path, *, texts: bool, mib: int) -> RecordLog:
    """Open the folder of records."""
    from lacy.records import RecordLog

    total = mib << 20
    return RecordLog(folder, texts=texts, total_bytes=total, file_bytes=min(16 << 20, total // 2))


def _print_records(records: RecordLog) -> None:
    """Say what is kept of answers, and where."""
    mib = records.total_bytes >> 20
    what = (
        "prompts and generated text, who wrote each span, and users' verdicts and corrections"
        if records.texts
        else "who wrote each span, which facts sources returned or lacked, and users' verdicts, "
        "but no prompts and no generated text (--log-texts keeps them)"
    )
    print(f"Records of answers in {records.folder} (at most {mib} MiB, readable only by you): "
          f"{what}. Next: lacy data loop {records.folder}", file=sys.stderr)  # fmt: skip


def _prompts(sources: Sequence[str]) -> list[str]:
    """Return example prompts for the page: people of the first world among the sources."""
    worlds = [source for source in sources if (Path(source) / "world.json").is_file()]
    if not worlds:
        return []
    from lacy.world import load_world

    return load_world(worlds[0]).prompts(limit=PROMPTS)


def _new_key(config: ServeConfig) -> int:
    """Add a key to the file and print it."""
    from lacy.serve import Keys

    if config.keys is None:
        do = f"give one: lacy serve MODEL --keys keys.json --new-key {config.new_key}"
        raise LacyError("E12", key="keys", value=None, why="no file for the new key", do=do)
    keys = Keys.load(config.keys) if config.keys.exists() else Keys([])
    assert config.new_key is not None
    print(keys.add(config.keys, config.new_key, config.per_minute))
    print(f"Shown only now; {config.keys} holds its hash.", file=sys.stderr)
    return 0


def log_requests() -> None:
    """Log requests to standard error, one line of JSON each."""
    log = logging.getLogger("lacy.serve")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)


def _print_address(
    config: ServeConfig, name: str, policy: str, port: int, keys: Keys | None
) -> None:
    """Print the server's address, and warn if other computers can reach it."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"{name} ({policy}) at http://{host}:{port}/v1; Ctrl-C stops it", file=sys.stderr)
    print(f"A page to try it: http://{host}:{port}/", file=sys.stderr)
    if keys and not keys.keys:
        print(f"Warning: {config.keys} has no keys, so all requests are refused.", file=sys.stderr)
    if config.host not in LOOPBACK:
        open_to = "anybody with a key" if keys else "anybody, without a key (--keys)"
        line = f"Warning: {config.host} can be reached from other computers, by {open_to};"
        print(f"{line} put TLS in front of it.", file=sys.stderr)
