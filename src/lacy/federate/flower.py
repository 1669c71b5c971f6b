"""Run the same clients and the same server over a network, with Flower (flwr 1.42, HTTP).

Flower carries messages between a SuperLink and SuperNodes, with TLS and authentication of nodes;
what a round is, which updates are used and how they are aggregated stays in ``FederationServer``.
Updates and states travel as the bytes of ``lacy.deltas``, never as pickles or numpy files. Needs an
environment of its own (``lacy[federate]``, ``constraints-federate.txt``), because Flower's pins
exclude those of lacy's other tools.

An app for Flower is a module with two names (``write_flower_app`` writes one):

    server = server_app(texts_server)
    client = client_app(texts_client)
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from lacy._require import require_package
from lacy._text import first_line
from lacy.deltas import codec_by_name, shapes_of
from lacy.errors import LacyError
from lacy.federate.message import encode_update
from lacy.federate.protocol import Client, State
from lacy.federate.transport import ClientReply, Transport

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before flwr is imported

Values = Mapping[str, Any]
"""Settings of an app or of a node, as Flower reads them from TOML."""

POLL = 0.2
"""Seconds between two looks for replies; Flower's own loop waits three."""

PATIENCE = 3600.0
"""Seconds that a round lasts at most if the settings name no deadline."""

NAMING = 300.0
"""Seconds that a client has to tell its name; Flower may start a process for it first."""

WAIT = 600.0
"""Seconds to wait for the clients that are needed to begin."""


class FlowerTransport:
    """Reaches the clients of a Flower federation.

    The name of a client is the value ``client`` in its node's settings (``--node-config``); without
    one, the node's id. With node authentication, nodes are those whose keys are registered.

    Args:
        grid: what Flower gives to a server app.
        codec: how updates travel.
    """

    def __init__(self, grid: Any, codec: str = "f32") -> None:
        self._flwr = require_package("flwr.app", "federate", "a federation over a network")
        self._grid, self._codec = grid, codec
        self._names: dict[int, str] = {}

    def clients(self) -> Sequence[str]:
        """Return the names of the clients that are connected; of two with one name, the first."""
        nodes = set(self._grid.get_node_ids())
        self._names = {node: name for node, name in self._names.items() if node in nodes}
        asked = [
            self._message(self._flwr.RecordDict(), "query", node, 0, NAMING)
            for node in sorted(nodes - self._names.keys())
        ]
        for node, reply in self._replies(asked, NAMING):
            if reply is not None and not reply.has_error() and "client" in reply.content:
                name = str(reply.content["client"]["name"] or node)[:80]
                if name not in self._names.values():
                    self._names[node] = name
        return list(self._names.values())

    def wait_for(self, count: int) -> None:
        """Wait until enough clients are connected.

        Raises:
            LacyError: E338, they are still too few after ``WAIT`` seconds.
        """
        end = time.monotonic() + WAIT
        while len(found := self.clients()) < count:
            if time.monotonic() > end:
                raise LacyError("E338", found=len(found), count=count, seconds=int(WAIT))
            time.sleep(POLL)

    def train(
        self, clients: Sequence[str], state: State, round: int, deadline: float | None
    ) -> Iterator[ClientReply]:
        """Send the state, and yield the replies as they come; who is silent has no reply."""
        flwr, begin = self._flwr, time.monotonic()
        nodes = {name: node for node, name in self._names.items()}
        data = codec_by_name("f32").encode(state)
        about = {
            "round": round, "codec": self._codec,
            "shapes": json.dumps(shapes_of(state), separators=(",", ":")),
        }  # fmt: skip
        content = {"round": flwr.ConfigRecord(about), "arrays": self._record("state", data)}
        seconds = deadline or PATIENCE
        messages = [
            self._message(flwr.RecordDict(content), "train", nodes[name], round, seconds)
            for name in clients
        ]
        for node, reply in self._replies(messages, seconds):
            name, passed = self._names[node], time.monotonic() - begin
            if reply is None:
                yield ClientReply(name, failure="Flower could not send it the state")
            elif reply.has_error():
                why = str(getattr(reply.error, "reason", "") or reply.error)[:200]
                yield ClientReply(name, failure=f"Flower: {first_line(Exception(why))}")
            elif "failure" in reply.content:
                yield ClientReply(name, failure=str(reply.content["failure"]["why"])[:200])
            else:
                data = _bytes_of(reply, "update")
                yield ClientReply(name, data, seconds=passed)

    def _record(self, name: str, data: bytes) -> Any:
        array = self._flwr.Array("uint8", (len(data),), "lacy.deltas", data)
        return self._flwr.ArrayRecord({name: array})

    def _message(self, content: Any, kind: str, node: int, group: int, seconds: float) -> Any:
        return self._flwr.Message(
            content=content, dst_node_id=node, message_type=kind, ttl=seconds, group_id=str(group)
        )

    def _replies(self, messages: Sequence[Any], seconds: float) -> Iterator[tuple[int, Any | None]]:
        """Send messages and yield (node, reply) as replies come, until none is missing.

        A message that could not be sent has the reply None. Replies are assigned by the message
        that they answer: if a client disappears, Flower's own server answers in its place.
        """
        nodes = [message.metadata.dst_node_id for message in messages]
        sent = list(self._grid.push_messages(messages)) if messages else []
        sent += [None] * (len(nodes) - len(sent))  # none of them, if they are too large
        missing = {key: node for key, node in zip(sent, nodes, strict=True) if key is not None}
        yield from ((node, None) for key, node in zip(sent, nodes, strict=True) if key is None)
        end = time.monotonic() + seconds
        while missing:
            for reply in self._grid.pull_messages(list(missing)):
                node = missing.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    yield node, reply
            if time.monotonic() > end:
                return
            if missing:
                time.sleep(POLL)


def server_app(run: Callable[[Transport, Values], object], *, codec: str = "") -> Any:
    """Return a ``ServerApp`` that waits for clients and then runs a server.

    Args:
        run: runs rounds with a transport; its second argument has the settings of the app, of
            which ``clients`` is the number of clients to wait for.
        codec: how updates travel; by default the app's setting ``codec``, or f32.
    """
    app = require_package("flwr.serverapp", "federate", "a federation over a network").ServerApp()

    @app.main()
    def main(grid: Any, context: Any) -> None:
        config = dict(context.run_config)
        transport = FlowerTransport(grid, codec or str(config.get("codec", "f32")))
        transport.wait_for(int(config.get("clients", 1)))
        run(transport, config)

    return app


def client_app(make: Callable[[Values], Client]) -> Any:
    """Return a ``ClientApp`` that trains with a client.

    A client that fails sends the kind of its error only, because a message could quote its texts;
    the whole message is on its own standard error.

    Args:
        make: returns the client; its argument has the settings of the app and of the node, of
            which ``client`` is the client's name.
    """
    flwr = require_package("flwr.app", "federate", "a federation over a network")
    app = require_package("flwr.clientapp", "federate", "a client over a network").ClientApp()

    @app.query()
    def name(message: Any, context: Any) -> Any:
        given = str(context.node_config.get("client", ""))
        content = flwr.RecordDict({"client": flwr.ConfigRecord({"name": given})})
        return flwr.Message(content, reply_to=message)

    @app.train()
    def train(message: Any, context: Any) -> Any:
        about = message.content["round"]
        shapes = {n: tuple(shape) for n, shape in json.loads(about["shapes"]).items()}
        state = codec_by_name("f32").decode(_bytes_of(message, "state"), shapes)
        try:
            client = make({**context.run_config, **context.node_config})
            update = client.train(state, int(about["round"]))
            data = encode_update(update, codec_by_name(str(about["codec"])))
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            why = error.code if isinstance(error, LacyError) else type(error).__name__
            content = {"failure": flwr.ConfigRecord({"why": why})}
        else:
            array = flwr.Array("uint8", (len(data),), "lacy.deltas", data)
            content = {"arrays": flwr.ArrayRecord({"update": array})}
        return flwr.Message(flwr.RecordDict(content), reply_to=message)

    return app


def _bytes_of(message: Any, name: str) -> bytes:
    """Return the bytes of an array without decoding them; empty if there is none."""
    try:
        return cast(bytes, message.content["arrays"][name].data)
    except (KeyError, AttributeError, TypeError):
        return b""
