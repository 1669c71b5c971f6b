"""Request ids and CORS headers of all responses, and which origins may send requests."""

import httpx
import openai
import pytest

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.serve import Scheduler, make_app
from lacy.serve.middleware import CORS_METHODS
from lacy.testing import scripted

CHAT = "https://chat.example"
BODY = {"model": "slm", "prompt": "a", "max_tokens": 1}
PREFLIGHT = {
    "Origin": CHAT, "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared():
    """A server that allows the pages of one other origin."""
    engine = Engine(scripted(lambda text: "x"), max_new_tokens=3)
    with serving(engine, origins=[CHAT + "/"]) as running:
        yield running


def cors(response):
    return {name for name in response.headers if name.startswith("access-control")}


@pytest.mark.parametrize(("method", "path", "body"), [
    ("POST", "/v1/completions", BODY), ("POST", "/v1/completions", BODY | {"stream": True}),
    ("POST", "/v1/completions", {}), ("GET", "/v1/models", None), ("GET", "/nowhere", None),
    ("GET", "/", None), ("GET", "/health", None), ("GET", "/v1/completions", None),
    ("POST", "/v1/chat/completions", {"model": "slm"}), ("HEAD", "/health", None),
])  # fmt: skip
def test_every_response_has_an_id(server, method, path, body):
    for given in ("", "my-id.7", "a" * 129, "two words", "é"):
        headers = {"x-request-id": given.encode()} if given else {}
        got = httpx.request(method, server.url + path, json=body, headers=headers)
        number = got.headers["x-request-id"]
        assert number == given if given == "my-id.7" else number.startswith("req_")
        assert len(got.headers.get_list("x-request-id")) == 1


def test_a_bug_has_an_id_and_cors_headers_too():
    from starlette.testclient import TestClient

    with Scheduler(Engine(scripted(lambda text: "x"))) as scheduler:
        app = make_app(scheduler, "slm", origins=["*"])

        @app.get("/broken")
        async def path():
            raise RuntimeError("the cause")

        client = TestClient(app, raise_server_exceptions=False)
        got = client.get("/broken", headers={"Origin": CHAT, "x-request-id": "7"})
    assert got.status_code == 500 and got.headers["x-request-id"] == "7"
    assert got.headers["access-control-allow-origin"] == "*"


def test_the_clients_find_the_id(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        got = client.completions.create(model="slm", prompt="a", max_tokens=1)
        assert got._request_id.startswith("req_")
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="slm", prompt="a", max_tokens=-1)
        assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("path", [
    "/", "/page/style.css", "/health", "/metrics", "/v1/models", "/v1/models/slm", "/v1/lacy",
    "/openapi.json", "/v1/models/",
])  # fmt: skip
def test_head_is_get_without_a_body(server, path):
    got, whole = httpx.head(server.url + path), httpx.get(server.url + path)
    assert got.status_code == whole.status_code == 200 and not got.content
    assert got.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":
        assert got.headers["content-length"] == str(len(whole.content))


def test_head_where_only_post_is_allowed(server):
    got = httpx.head(server.url + "/v1/completions")
    assert got.status_code == 405 and not got.content


def test_a_slash_at_the_end_changes_nothing(server):
    assert httpx.get(server.url + "/v1/models/").json()["data"][0]["id"] == "slm"
    got = httpx.post(server.url + "/v1/completions/", json=BODY)
    assert got.status_code == 200 and got.json()["choices"]


def test_models_have_their_context_length(server, engine):
    [told] = httpx.get(server.url + "/v1/models").json()["data"]
    assert told["max_model_len"] == engine.model.config.max_position_embeddings
    assert told["root"] == told["id"] == "slm"
    one = httpx.get(server.url + "/v1/models/slm:never").json()
    assert one["max_model_len"] == told["max_model_len"] and one["id"] == "slm:never"


def test_an_allowed_origin_may_send_requests(shared):
    first = httpx.options(shared.url + "/v1/completions", headers=PREFLIGHT)
    assert first.status_code == 204 and not first.content
    assert first.headers["access-control-allow-origin"] == CHAT
    assert first.headers["access-control-allow-methods"] == CORS_METHODS
    allowed = first.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-request-id"} <= set(allowed)
    assert "x-stainless-os" in first.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in first.headers
    for body in (BODY, BODY | {"stream": True}, {}):  # errors can be read as well
        got = httpx.post(shared.url + "/v1/completions", json=body, headers={"Origin": CHAT})
        assert got.headers["access-control-allow-origin"] == CHAT
        assert "x-request-id" in got.headers["access-control-expose-headers"].lower()
        assert "origin" in got.headers["vary"].lower()


@pytest.mark.parametrize("origin", [
    "https://evil.example", "http://chat.example", "https://chat.example.evil.example", "null",
    "https://chat.example:8443", "",
])  # fmt: skip
def test_other_origins_may_not(shared, origin):
    first = httpx.options(shared.url + "/v1/completions", headers=PREFLIGHT | {"Origin": origin})
    assert first.status_code == 405 and not cors(first)
    assert f"--origin {origin}" in first.text or not origin
    got = httpx.post(shared.url + "/v1/completions", json=BODY, headers={"Origin": origin})
    assert not cors(got) and got.headers["vary"] == "Origin"


def test_by_default_no_origin_may(server):
    first = httpx.options(server.url + "/v1/completions", headers=PREFLIGHT)
    assert first.status_code == 405 and not cors(first) and "--origin" in first.text
    got = httpx.get(server.url + "/v1/models", headers={"Origin": CHAT})
    assert not cors(got)


def test_any_origin_may_be_allowed(engine):
    with serving(engine, origins=["*"]) as running:
        got = httpx.get(running.url + "/v1/models", headers={"Origin": "https://any.example"})
        assert got.headers["access-control-allow-origin"] == "*"
        private = PREFLIGHT | {"Access-Control-Request-Private-Network": "true"}
        first = httpx.options(running.url + "/v1/models", headers=private)
        assert first.headers["access-control-allow-private-network"] == "true"


def test_a_wrong_host_name_is_refused(engine):
    with serving(engine, hosts=["localhost", "127.0.0.1"]) as running:
        got = httpx.get(running.url + "/v1/models", headers={"Host": "lacy.example:80"})
        assert got.status_code == 421 and "--allow-host lacy.example" in got.text


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_json_without_its_content_type(server, kind):
    headers = {"Content-Type": kind} if kind else {}
    got = httpx.post(server.url + "/v1/completions", content=b'{"model": "slm"}', headers=headers)
    assert got.status_code == 400 and "Content-Type: application/json" in got.text


@pytest.mark.parametrize(("path", "body", "param"), [
    ("completions", {"prompt": 7}, "prompt"), ("completions", {"prompt": [3.5]}, "prompt"),
    ("completions", {"prompt": ["a", 1]}, "prompt"), ("completions", {"prompt": []}, "prompt"),
    ("completions", {"prompt": {"a": 1}}, "prompt"), ("completions", {"stop": 7}, "stop"),
    ("completions", {"stop": ["a", 7]}, "stop.1"), ("completions", {"logprobs": "x"}, "logprobs"),
    ("completions", {"stream_options": 3, "stream": True}, "stream_options"),
    ("completions", {"lacy": {"policy": 3}}, "lacy.policy"), ("completions", {"str": 1}, "str"),
    ("chat/completions", {"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "messages.0.content.0.type"),
    ("chat/completions", {"messages": [{"role": "king", "content": "a"}]}, "messages.0.role"),
    ("chat/completions", {"messages": [{"role": "user", "content": None}]}, "messages.0"),
    ("chat/completions", {"messages": []}, "messages"),
])  # fmt: skip
def test_errors_name_parameters_as_clients_do(server, path, body, param):
    chat = {"messages": [{"role": "user", "content": "a"}]}
    sound = {"model": "slm"} | (chat if path.startswith("chat") else {"prompt": "a"})
    got = httpx.post(f"{server.url}/v1/{path}", json=sound | body)
    assert got.status_code == 400 and got.json()["error"]["param"] == param, got.text
