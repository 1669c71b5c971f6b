"""Servers of several routes, and requests to them."""

import contextlib
import threading

import httpx

from helpers.waiting import until
from lacy.serve import RouteOpener, RouteTable, Server, make_routes_app, router_of, text_of

ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "theirs",
          "choices": [{"index": 0, "finish_reason": "stop",
                       "message": {"role": "assistant", "content": "42"}}]}  # fmt: skip


@contextlib.contextmanager
def serving_routes(config, path=None, opener=None, **how):
    """Yield the address of a server with these routes."""
    router = router_of(config, path)
    config.check("routes.yaml", router)
    opener = opener or RouteOpener(text_of, settings={"max_new_tokens": 4})
    table = RouteTable(config, router, path)
    opener.prepare(config.routes)
    server = Server(make_routes_app(table, opener, **how), opener, port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


def chat(client, text, model="auto", **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body)
