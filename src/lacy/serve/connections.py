"""Protect the server on the level of connections: deadlines, limits, strict parsing of requests.

This code runs before authentication, so it must bound time and memory. uvicorn's h11 protocol reads
and writes; ``BoundedProtocol`` adds deadlines and a limit on the number of connections;
``StrictParser`` refuses requests whose length is ambiguous or which are expensive to parse.
"""

from __future__ import annotations

import asyncio
import http
import json
import socket
import time
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lacy.serve.errors import ApiError
from lacy.serve.limits import MIB, Limits

HEAD_BYTES = 16 * 1024
"""Maximum size of the request line with all headers, and of the data that are parsed at a time."""

MAX_HEADERS = 100

FREE_CHUNKS, CHUNK_BYTES = 1024, 64
"""A chunked body may have ``FREE_CHUNKS`` chunks, plus one for each ``CHUNK_BYTES`` bytes."""

LINGER_SECONDS, LINGER_BYTES = 5.0, 16 * MIB
"""How long and how much the server reads and discards after an early answer. If a socket is closed
with unread data, the client may not receive the answer."""

PROBE_SECONDS = 1.0
"""Delay before probing a client that closed its sending side while it waits for an answer."""


PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}


class StrictParser(h11.Connection):
    """h11's connection with stricter checks of requests."""

    refusal: h11.RemoteProtocolError | None = None
    """The error that the last event raised, if any."""
    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: the data are not a valid request, or the request is refused.
        """
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._chunks = self._bytes = 0
                _check_head(event)
            elif isinstance(event, h11.Data):
                self._chunks += 1
                self._bytes += len(event.data)
                if self._chunks > FREE_CHUNKS + self._bytes // CHUNK_BYTES:
                    raise h11.RemoteProtocolError("the body has too many small chunks")
        except h11.RemoteProtocolError as error:
            self.refusal = error
            raise
        return event


def _check_head(request: h11.Request) -> None:
    """Refuse requests that a proxy might interpret differently from h11.

    Raises:
        h11.RemoteProtocolError: unsupported version, too many or too long headers, or an ambiguous
            body length.
    """
    if request.http_version not in (b"1.0", b"1.1"):
        why = f"HTTP/{request.http_version.decode()} is not supported"
        raise h11.RemoteProtocolError(why, error_status_hint=505)
    size = len(request.method) + len(request.target)
    size += sum(len(name) + len(value) for name, value in request.headers)
    if size > HEAD_BYTES:  # h11 itself checks the size only while headers are incomplete
        why = f"the request line and headers have more than {HEAD_BYTES:,} bytes"
        raise h11.RemoteProtocolError(why, error_status_hint=431)
    if len(request.headers) > MAX_HEADERS:
        why = f"more than {MAX_HEADERS} headers"
        raise h11.RemoteProtocolError(why, error_status_hint=431)
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise h11.RemoteProtocolError("Content-Length together with Transfer-Encoding")
    if b"transfer-encoding" in names and request.http_version < b"1.1":
        raise h11.RemoteProtocolError("Transfer-Encoding in HTTP/1.0")


class BoundedTransport:
    """A transport that stops sending, and drops the rest, some time after ``close``.

    Args:
        transport: the event loop's transport.
        seconds: time after ``close`` for sending the remaining data.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._abort: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Send the remaining data, then close; abort when the time is up."""
        self._transport.close()
        if self._abort is None:
            loop = asyncio.get_running_loop()
            self._abort = loop.call_later(self._seconds, self._transport.abort)

    def closed(self) -> None:
        """Cancel the timer; called when the connection is closed."""
        if self._abort is not None:
            self._abort.cancel()


class BoundedProtocol(H11Protocol):
    """One connection, with deadlines.

    Args:
        limits: the deadlines, and the maximum number of connections.
        options: arguments of uvicorn's protocol.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.conn = self._parser = StrictParser(h11.SERVER, HEAD_BYTES)
        self.since = time.monotonic()
        """When the connection last started waiting for the client."""
        self._half_closed = self._discarding = False
        self._discarded = 0
        """Number of bytes that were read and dropped."""
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._stage = ""

    # Called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; if there are too many, close an idle one."""
        self._bounded = BoundedTransport(transport, self.limits.stall_seconds)
        super().connection_made(cast("asyncio.Transport", self._bounded))
        if len(self.connections) > self.limits.connections and not self._close_idle():
            why = f"all {self.limits.connections} connections are in use"
            self._refuse(ApiError(503, why, "too_many_connections", retry=1))
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Parse the data in small parts, as h11 limits headers only while they are incomplete."""
        if self._stage == "discard" or self._discarding:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abort()
                return
        for begin in range(0, len(data), HEAD_BYTES):
            if self._discarding or self.transport.is_closing():
                return
            super().data_received(data[begin : begin + HEAD_BYTES])
        if self.answering and len(self.conn.trailing_data[0]) <= HEAD_BYTES:
            self.flow.resume_reading()  # a disconnect is only noticed while reading
        self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handle a client that closed its sending side; it may still wait for the answer.

        Returns True to keep the connection open.
        """
        if not self.answering or self._discarding:
            return False
        if not self._half_closed:
            self._half_closed = True
            self.loop.call_later(PROBE_SECONDS, self._probe)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        super().connection_lost(exc)
        self._cancel_deadline()
        self._bounded.closed()
        if self._stalled is not None:
            self._stalled.cancel()

    def pause_writing(self) -> None:
        """Start a timer, because the client has stopped reading.

        ``GuardMiddleware`` cancels its texts first; a second later, the connection is aborted.
        """
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.stall_seconds + 1, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the timer, because the client reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    # Called by uvicorn

    def send_400_response(self, msg: str) -> None:
        """Refuse data that are not a valid request."""
        error = self._parser.refusal
        hint = error.error_status_hint if error else 400
        self._refuse(ApiError(hint, str(error or msg), "invalid_request"))

    def on_response_complete(self) -> None:
        """Close or reuse the connection after an answer."""
        super().on_response_complete()
        if self._half_closed and not self.answering:
            self.transport.close()
        self._watch()

    def shutdown(self) -> None:
        """Shut down; only requests that have arrived completely are still answered."""
        if self.answering:
            self.cycle.keep_alive = False
        elif self.receiving and not self._discarding:
            self._refuse(ApiError(503, "the server is shutting down", "shutting_down", retry=5))
        else:
            self.transport.close()

    # States

    @property
    def answering(self) -> bool:
        """True if a complete request is waiting for its answer."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def receiving(self) -> bool:
        """True if the application is reading the body of a request."""
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

    # Deadlines

    def _watch(self) -> None:
        """Set a new deadline if the stage of the connection has changed."""
        stage = "" if self.transport.is_closing() else self._stage_now()
        if stage == self._stage or self._discarding:  # discarding has its own deadline
            return
        self._cancel_deadline()
        self._stage, self.since = stage, time.monotonic()
        self._discarded = 0
        limits = self.limits
        allowed = {
            "idle": limits.idle_seconds,
            "head": limits.head_seconds,
            "discard": LINGER_SECONDS,
        }
        if stage in allowed:
            self._deadline = self.loop.call_later(allowed[stage], self._too_late)

    def _stage_now(self) -> str:
        """Return what the connection waits for; ``GuardMiddleware`` sets the deadline of a body."""
        if self.answering:
            return "answer"
        if self.receiving:
            return "body"
        if self.conn.their_state is h11.SEND_BODY:
            return "discard"  # answered already; the rest of the body is not needed
        return "head" if self.cycle is None or self._has_data else "idle"

    @property
    def _has_data(self) -> bool:
        """True if part of the headers has arrived."""
        return bool(self.conn.trailing_data[0])

    def _too_late(self) -> None:
        """Handle a missed deadline."""
        if self._stage == "head" and self._has_data:
            why = f"the headers took longer than {self.limits.head_seconds} s"
            self._refuse(ApiError(408, why, "too_slow"))
        elif self._stage == "discard":
            self.transport.abort()
        else:
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_idle(self) -> bool:
        """Close the connection that has been idle longest; return False if none is idle."""
        others = (other for other in self.connections if other is not self)
        idle = [
            other for other in others if isinstance(other, BoundedProtocol) and not other.answering
        ]
        if not idle:
            return False
        # Prefer connections without a request; a client that has sent headers may just be slow.
        oldest = min(idle, key=lambda other: (other.receiving, other.since))
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _probe(self) -> None:
        """Check whether a client that closed its sending side still exists.

        A closed socket answers any data with a reset. So send "100 Continue", which may precede any
        answer and which clients ignore.
        """
        if self.transport.is_closing() or not self.answering:
            return
        sock: socket.socket = self.transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        if not self.cycle.response_started:
            if self.scope["http_version"] < "1.1":  # it has no status 100
                self.transport.abort()
                return
            event = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            self.transport.write(self.conn.send(event) or b"")
        self.loop.call_later(PROBE_SECONDS / 4, self._probe)

    # Closing

    def _refuse(self, error: ApiError) -> None:
        """Send an error without asking the application, and close the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            response_started, self.cycle.disconnected = self.cycle.response_started, True
            self.cycle.message_event.set()  # wake the application if it waits for the body
            if response_started:
                self.transport.abort()
                return
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self._discarding = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send_error(error)
        if self._half_closed:
            self.transport.close()
            return
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _send_error(self, error: ApiError) -> None:
        data = json.dumps(error.body).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(data)).encode()),
            (b"connection", b"close"),
        ]
        if error.retry is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        head = h11.Response(status_code=error.status, headers=headers, reason=PHRASES[error.status])
        for event in (head, h11.Data(data=data), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
