"""A server that judges statements by a script (``benchmarks/verdict_server.py``), in a thread."""

import asyncio
import contextlib

from verdict_server import VerdictServer

from lacy.remote import LoopThread


@contextlib.contextmanager
def verdict_server(oracle=None, latency=0.0):
    """Yield a running ``VerdictServer``; its ``url`` ends in ``/v1``."""
    server = VerdictServer(latency, oracle)

    async def start():
        return await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 24)

    with LoopThread() as loop:
        listening = loop.submit(start()).result()
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        try:
            yield server
        finally:
            loop.submit(_stop(listening)).result()


async def _stop(listening):
    listening.close()
