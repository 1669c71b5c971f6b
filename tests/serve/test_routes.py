"""A server in front of two local models, another server and a source, behind a router."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import time
from itertools import pairwise

import httpx
import numpy as np
import openai
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pages import ROOT
from helpers.processes import ended, running
from helpers.route_servers import ANSWER, chat, serving_routes
from helpers.routing import outcome_cases, topic_cases
from helpers.scripted_server import scripted_server
from helpers.serving import TEMPLATE, problem
from helpers.waiting import PATIENCE, until
from lacy.cascade import Engine
from lacy.cli import main
from lacy.errors import LacyError
from lacy.model import build_model, save_model
from lacy.route import RouterSettings, fit_router
from lacy.serve import (
    Limits,
    RouteEntry,
    RouteOpener,
    RoutesConfig,
    RouteTable,
    read_routes,
    router_of,
    routes_of_words,
    text_of,
)
from lacy.serve.route_answers import marked_stream
from lacy.serve.route_budget import RouteBudget
from lacy.testing import byte_tokenizer, scripted

HARD, EASY = "Which owl has a nest?", "Steer the mast by rope keel."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two tiny models and a router between them, in one folder."""
    folder = tmp_path_factory.mktemp("routes")
    for seed, name in enumerate(("small", "large")):
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = TEMPLATE
        model = build_model("tiny", tokenizer, context=256, seed=seed)
        save_model(folder / name, model, tokenizer)
    fit_router(outcome_cases(), RouterSettings(head="tfidf")).save(folder / "router")
    return folder


@pytest.fixture(scope="module")
def other():
    """Return another server with scripted replies."""
    with scripted_server() as server:
        yield server


def entries(made, **more):
    return {"small": RouteEntry(str(made / "small")), "large": RouteEntry(str(made / "large")),
            **more}  # fmt: skip


@pytest.fixture(scope="module")
def client(made, other):
    """Two local models, another server and a source."""
    address = other.url.rstrip("/")
    config = RoutesConfig(
        entries(
            made, far=RouteEntry(f"{address}#theirs"),
            dear=RouteEntry(f"{address}#theirs", per_minute=1),
        ),
        str(made / "router"), strong_share=0.5,
    )  # fmt: skip
    with serving_routes(config) as client:
        yield client


def test_the_router_chooses_and_the_answer_says_which_and_why(client):
    for text, route in ((HARD, "large"), (EASY, "small")):
        answer = chat(client, text)
        assert answer.status_code == 200, answer.text
        about = answer.json()["lacy_route"]
        assert about["route"] == route == answer.headers["x-lacy-route"] == answer.json()["model"]
        assert about["why"] == answer.headers["x-lacy-route-why"]
        assert set(about["scores"]) == {"small", "large"}
    done = client.post("/v1/completions", json={"model": "auto", "prompt": HARD, "max_tokens": 2})
    assert done.json()["lacy_route"]["route"] == "large"
    done = client.post("/v1/responses", json={"model": "auto", "input": EASY})
    assert done.json()["lacy_route"]["route"] == "small"


def test_a_named_route_is_taken(client, other):
    assert chat(client, HARD, "small").json()["lacy_route"] == {
        "route": "small", "why": "the request names it", "cost": 0.1}  # fmt: skip
    assert chat(client, HARD, "small:never").status_code == 200  # with a policy
    other.replies = [(200, ANSWER)]
    answer = chat(client, HARD, "far", lacy={"unit": "word"}).json()
    assert answer["choices"][0]["message"]["content"] == "42" and answer["model"] == "far"
    path, headers, sent = other.seen[-1]
    assert path == "/v1/chat/completions" and sent["model"] == "theirs" and "lacy" not in sent
    assert "Authorization" not in headers  # no key is needed, and none is sent
    assert "there is no route 'smal'" in problem(chat(client, HARD, "smal"), 404)["message"]


def test_a_stream_says_it_in_its_first_event(client):
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as caller:
        stream = caller.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": HARD}], stream=True
        )
        events = list(stream)
    assert events[0].lacy_route["route"] == "large" and events[0].model == "large"
    assert not any(hasattr(event, "lacy_route") for event in events[1:])
    assert any(event.choices[0].finish_reason for event in events if event.choices)


def test_a_client_that_leaves_ends_its_text():
    def speak(text):
        time.sleep(0.02)
        return "x"

    class SlowOpener(RouteOpener):
        """Opens a model that would write for a quarter of an hour."""

        def _open(self, entry):
            return Engine(scripted(speak, context=1 << 16), max_new_tokens=50_000), None

    opener = SlowOpener(text_of, Limits(max_new_tokens=50_000))
    with serving_routes(RoutesConfig({"slow": RouteEntry("none")}), opener=opener) as client:
        body = {"model": "auto", "prompt": HARD, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            next(answer.iter_raw())
            assert "lacy_streams 1.0" in client.get("/metrics").text
        until(lambda: "lacy_streams 0.0" in client.get("/metrics").text)
        with pytest.raises(httpx.ReadTimeout):  # whole answers, too
            client.post("/v1/completions", json=body | {"stream": False}, timeout=0.5)
        until(lambda: "lacy_streams 0.0" in client.get("/metrics").text)


def test_a_stream_of_another_server_is_passed_on(client, other):
    choice = {"index": 0, "delta": {"content": "4"}, "finish_reason": None}
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "theirs", "choices": [choice]}
    raw = f": hello\r\n\r\ndata: {json.dumps(chunk)}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    other.replies = [(200, raw, {"Content-Type": "text/event-stream"}, 0.0)]
    text = chat(client, HARD, "far", stream=True).text
    assert text.startswith(": hello") and text.rstrip().endswith("data: [DONE]")
    assert '"lacy_route"' in text and '"model": "far"' in text


def test_a_budget_is_kept(client, other):
    other.replies = [(200, ANSWER)]
    assert chat(client, HARD, "dear").status_code == 200
    refused = chat(client, HARD, "dear")
    assert "budget" in problem(refused, 429)["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get("/v1/routes").json()["routes"]["dear"]["wait"] > 0


def test_the_errors_of_a_named_route_are_its_own(client, other):
    other.replies = [(503, {"error": {"message": "asleep"}})]
    answer = chat(client, HARD, "far")
    assert answer.status_code == 503 and answer.json()["error"]["message"] == "asleep"
    assert problem(chat(client, HARD, "small", temperature=9), 400)["param"] == "temperature"


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"{", "not valid JSON"), (b"[]", "not a JSON object"), (b"{}", "give a route's name")],
)
def test_unusable_bodies_are_refused(client, body, words):
    answer = client.post("/v1/chat/completions", content=body)
    assert words in problem(answer, 400)["message"]


def test_the_mistakes_of_a_client_do_not_try_the_next_route(client):
    answer = chat(client, EASY, temperature=9)
    assert problem(answer, 400)["param"] == "temperature"
    assert answer.headers["x-lacy-route"] == "small"


def test_routes_are_listed_and_counted(client):
    models = {one["id"]: one["kind"] for one in client.get("/v1/models").json()["data"]}
    assert models == {"auto": "router", "small": "model", "large": "model", "far": "server",
                      "dear": "server"}  # fmt: skip
    assert client.get("/v1/models/auto").json()["id"] == "auto"
    assert client.get("/v1/models/none").status_code == 404
    assert client.get("/health").json() == {"status": "ok"}
    assert 'lacy_routed_total{outcome="answered",route="small"}' in client.get("/metrics").text


def test_tokens_of_local_models_are_counted_and_requests_once(made):
    with serving_routes(RoutesConfig({"small": RouteEntry(str(made / "small"))})) as client:
        assert chat(client, HARD, max_tokens=3).status_code == 200
        shown = client.get("/metrics").text
    assert 'lacy_tokens_total{speaker="slm"} 3.0' in shown
    assert 'lacy_requests_total{path="/v1/chat/completions",status="200"} 1.0' in shown


def test_typed_decisions_go_to_a_model_of_this_process(client):
    answer = client.post("/v1/systemone", json={"model": "small"})
    assert answer.status_code == 400 and "error" in answer.json()
    for name in ("nowhere", 5, None):
        assert (
            "no route"
            in problem(client.post("/v1/systemone", json={"model": name}), 404)["message"]
        )


@pytest.fixture
def two(other):
    """Settings of two routes on another server, the second of which must answer."""
    address = other.url.rstrip("/")

    def make(made, first="small", **more):
        routes = {name: RouteEntry(f"{address}#{name}", **more.pop(name, {}))
                  for name in ("small", "large")}  # fmt: skip
        return RoutesConfig(routes, str(made / "router"), **more)

    return make


def test_the_next_route_is_tried_when_one_fails_or_is_late(made, two, other):
    config = two(made, large={"timeout": 0.3})
    with serving_routes(config) as client:
        other.replies = [(500, {"error": {"message": "broken"}}), (200, ANSWER)]
        about = chat(client, HARD).json()["lacy_route"]
        assert about["route"] == "small"
        assert about["tried"] == [{"route": "large", "why": "HTTP 500 broken"}]
        other.replies = [(200, ANSWER, {}, 1.0), (200, ANSWER)]
        about = chat(client, HARD).json()["lacy_route"]
        assert about["tried"][0]["why"] == "no answer within 0.3 s"
        assert "then large failed" in about["why"]
        other.replies = [(500, {})]
        assert "large: HTTP 500" in problem(chat(client, HARD), 502)["message"]


def test_a_route_without_budget_gives_way(made, two, other):
    config = two(made, large={"cost": 1.0, "cost_per_minute": 2.0}, small={"cost": 0.1})
    with serving_routes(config) as client:
        other.replies = [(200, ANSWER)]
        routes = [chat(client, HARD).json()["lacy_route"]["route"] for _ in range(3)]
    assert routes == ["large", "large", "small"]


def test_shadow_mode_only_says_what_the_router_would_have_chosen(made, two, other):
    with serving_routes(two(made, shadow="small")) as client:
        other.replies = [(200, ANSWER)]
        about = chat(client, HARD).json()["lacy_route"]
        assert about["route"] == "small" and about["shadow"] == "large"


def test_a_changed_file_is_read_again_and_an_invalid_one_is_not(made, other, tmp_path):
    path = tmp_path / "routes.yaml"
    address = other.url.rstrip("/")
    routes = {name: {"model": f"{address}#{name}"} for name in ("small", "large")}
    data = {"router": str(made / "router"), "routes": routes}
    path.write_text(yaml.safe_dump(data))
    with serving_routes(read_routes(path), path) as client:
        other.replies = [(200, ANSWER)]
        path.write_text(yaml.safe_dump(data | {"shadow": "none"}))
        until(lambda: "E374" in client.get("/v1/routes").json()["problem"])
        assert chat(client, HARD).json()["lacy_route"]["route"] == "large"
        routes["extra"] = {"model": f"{address}#extra"}
        path.write_text(yaml.safe_dump(data | {"shadow": "extra"}))
        until(lambda: client.get("/v1/routes").json()["shadow"] == "extra")
        assert client.get("/v1/routes").json()["problem"] == ""
        assert chat(client, HARD).json()["lacy_route"]["route"] == "extra"


def test_a_source_answers_by_itself(made, tmp_path):
    from lacy.world import make_world

    world = make_world(people=10, seed=0)
    world.save(tmp_path / "world")
    config = RoutesConfig({"facts": RouteEntry(source=[str(tmp_path / "world")])})
    with serving_routes(config) as client:
        name = next(iter(world.people())).name
        answer = chat(client, f"{name} was born in", "facts")
        assert answer.status_code == 200, answer.text
        value = answer.json()["choices"][0]["message"]["content"]
        with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as caller:
            [event] = caller.chat.completions.create(
                model="facts", messages=[{"role": "user", "content": f"{name} was born in"}],
                stream=True,
            )  # fmt: skip
        assert event.choices[0].delta.content == value and value
        assert "one answer" in problem(chat(client, name, "facts", n=2), 502)["message"]
        assert problem(chat(client, "xyz", "facts"), 502)


@pytest.mark.parametrize(
    ("routes", "more", "words"),
    [
        ({}, {}, "there are none"),
        ({"auto": RouteEntry("m")}, {}, "the router chooses"),
        ({"a b": RouteEntry("m")}, {}, "letters, digits"),
        ({"a": RouteEntry()}, {}, "neither model nor source"),
        ({"a": RouteEntry("http://h/v1")}, {}, "name the model after its address"),
        ({"a": RouteEntry("http://h/v1#m", ["s"])}, {}, "has no source here"),
        ({"a": RouteEntry("m", cost=-1)}, {}, "cost is -1"),
        ({"a": RouteEntry("http://h/v1#m", decide="d")}, {}, "decide needs a model"),
        ({"a": RouteEntry("m", timeout=0)}, {}, "timeout is 0"),
        ({"a": RouteEntry("m", cost_per_minute=1)}, {}, "needs its cost"),
        ({"a": RouteEntry("m")}, {"fallback": ["b"]}, "E374"),
        ({"small": RouteEntry("m")}, {"router": True}, "chooses large"),
        ({"a": RouteEntry("ftp://h/v1#m")}, {}, "E72"),
    ],
)
def test_unusable_routes_are_an_error_before_the_start(made, routes, more, words):
    router = str(made / "router") if more.pop("router", None) else None
    config = RoutesConfig(routes, router, **more)
    with pytest.raises(LacyError) as caught:
        config.check("routes.yaml", router_of(config))
    assert words in str(caught.value)


def test_a_router_without_its_encoder_is_an_error_before_the_start(made, tmp_path):
    shutil.copytree(made / "router", tmp_path / "router")
    settings = tmp_path / "router" / "router.json"
    data = json.loads(settings.read_text())
    data["parts"][0] |= {"features": "encoder", "data": {"encoder": "no_such_encoder"}}
    settings.write_text(json.dumps(data))
    with pytest.raises(LacyError, match="E345"):
        router_of(RoutesConfig(entries(made), str(tmp_path / "router")))


def test_routes_of_words():
    found = routes_of_words(["a=runs/a", "b=http://h/v1#m"])
    assert found["a"].model == "runs/a" and found["b"].address == "http://h/v1#m"
    for words in (["a"], ["=m"], ["a=m", "a=n"]):
        with pytest.raises(LacyError, match="E377"):
            routes_of_words(words)


def test_a_share_follows_the_latest_requests(made):
    config = RoutesConfig(entries(made), str(made / "router"), strong_share=0.3, recent=150)
    table = RouteTable(config, router_of(config))
    hard = [case.text for case in topic_cases(900, seed=1) if case.route == "birds"]

    def strong(texts):
        return sum(table.plan(text).order[0] == "large" for text in texts) / len(texts)

    # A third of the training cases was hard, and now all requests are.
    assert strong(hard[:100]) > 0.5
    assert strong(hard[100:200]) <= 0.45 and strong(hard[200:300]) <= 0.45
    assert table.plan("").order[0] == "small"


@pytest.mark.slow
@pytest.mark.parametrize("given", ["flags", "file"])
def test_two_local_models_in_one_command(made, tmp_path, given):
    """The command line starts a server, reads its file at SIGHUP and stops at SIGTERM."""
    routes = {name: str(made / name) for name in ("small", "large")}
    path = tmp_path / "routes.yaml"
    entries = {name: {"model": model} for name, model in routes.items()}
    path.write_text(yaml.safe_dump({"router": str(made / "router"), "routes": entries}))
    flags = ["--router", made / "router"]
    for name, model in routes.items():
        flags += ["--route", f"{name}={model}"]
    argv = ["route", "serve", *(flags if given == "flags" else [path]), "--port", "0"]
    argv, said = [str(word) for word in argv], tmp_path / "said.txt"
    with running(main, argv, stderr=said) as child:
        written = re.compile(r" at (\S+?);.*Ctrl-C")
        url = until(lambda: said.is_file() and written.search(said.read_text()), child)[1]

        def answered():
            with contextlib.suppress(httpx.TransportError):
                body = {"model": "auto", "prompt": HARD, "max_tokens": 2}
                return httpx.post(f"{url}/completions", timeout=60, json=body)

        assert until(answered, child).json()["lacy_route"]["route"] == "large"
        if given == "file":
            os.kill(child.pid, signal.SIGHUP)
            assert answered().status_code == 200
        child.terminate()
        assert ended(child, PATIENCE) in (0, 130)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("", "there are no routes"),
        ("routes.yaml --route a=b", "routes come from a file"),
        ("none.yaml", "E13"),
        ("--route a", "it is not NAME=MODEL"),
        ("--route a=m --fallback b", "E374"),
        ("--route a=m --strong-share 0.2", "there is no router"),
        ("--route a=m --router none", "E372"),
        ("--route a=no-such-folder --port 0", "no-such-folder"),
    ],
)
def test_mistakes_are_told_before_the_start(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routes.yaml").write_text("routes: {a: {model: m}}")
    assert main(["route", "serve", *argv.split()]) in (2, 3)
    assert words in capsys.readouterr().err


def test_keys_are_checked_before_a_route_is_chosen(made, two, tmp_path):
    from lacy.serve import Keys

    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "me", None)
    with serving_routes(two(made), keys=Keys.load(tmp_path / "keys.json")) as client:
        problem(chat(client, HARD), 401)
        client.headers["Authorization"] = f"Bearer {key}"
        assert client.get("/v1/models").status_code == 200


def test_a_key_pays_for_every_text(made, two, other, tmp_path):
    from lacy.serve import Keys

    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "me", 10)
    with serving_routes(two(made), keys=Keys.load(tmp_path / "keys.json")) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        other.replies = [(200, ANSWER)]
        body = {"model": "auto", "prompt": [HARD, EASY, HARD], "n": 3}
        assert client.post("/v1/completions", json=body).status_code == 200
        problem(client.post("/v1/completions", json=body | {"n": 1}), 429)
        questions = {str(number): {"type": "noul"} for number in range(11)}
        body = {"model": "small", "state": "", "questions": questions}
        problem(client.post("/v1/systemone", json=body), 400)


def test_an_endless_answer_of_another_server_is_cut(made, two, other, monkeypatch):
    monkeypatch.setattr("lacy.serve.route_targets.MAX_ANSWER", 5_000)
    with serving_routes(two(made)) as client:
        other.replies = [(200, ANSWER | {"more": "x" * 6_000}), (200, ANSWER)]
        about = chat(client, HARD).json()["lacy_route"]
    assert about["tried"] == [{"route": "large", "why": "its answer is longer than 5,000 bytes"}]


def test_a_router_that_was_fitted_again_is_opened_on_demand(made, tmp_path):
    folder, path = tmp_path / "router", tmp_path / "routes.yaml"
    fit_router(outcome_cases(), RouterSettings(head="tfidf")).save(folder)
    path.write_text(yaml.safe_dump({"router": "router", "routes": {
        name: {"model": "http://127.0.0.1:9/v1#m"} for name in ("small", "large")}}))  # fmt: skip
    table = RouteTable(read_routes(path), router_of(read_routes(path), path), path)
    opener = RouteOpener(text_of)

    async def reloaded():
        await table.open(opener)
        before, targets = table.router, [live.target for live in table.routes.values()]
        assert not await table.reload(opener) and table.router is before
        assert await table.reload(opener, always=True) and table.router is not before
        assert [live.target for live in table.routes.values()] == targets

    asyncio.run(reloaded())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=6))
def test_a_stream_is_the_same_however_it_is_cut(places):
    raw = b': ping\n\ndata: {"model": "m", "choices": []}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n'
    cuts = sorted({0, len(raw), *(place for place in places if place < len(raw))})
    about = {"route": "small", "why": "because"}

    async def joined(parts):
        async def chunks():
            for part in parts:
                yield part

        return b"".join([part async for part in marked_stream(chunks(), about)])

    found = asyncio.run(joined([raw[a:b] for a, b in pairwise(cuts)]))
    assert found == asyncio.run(joined([raw]))
    events = found.split(b"\n\n")
    assert events[0] == b": ping" and events[2:] == [b'data: {"n": 2}', b"data: [DONE]", b""]
    assert json.loads(events[1][5:]) == {"model": "small", "choices": [], "lacy_route": about}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"prompt": "a"}, "a"), ({"prompt": ["a", "b"]}, "a"), ({"prompt": [1, 2]}, ""),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
         "a"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                                                    {"type": "image_url"}]}]}, "a"),
        ({"input": "a"}, "a"), ({"input": [{"role": "user", "content": "a"}]}, "a"),
        ({"messages": []}, ""), ({}, ""),
    ],
)  # fmt: skip
def test_the_text_of_a_request(body, text):
    assert text_of(body) == text


def test_a_budget_slides_over_a_minute():
    now = [0.0]
    budget = RouteBudget(per_minute=3, cost_per_minute=1.0, cost=0.5, clock=lambda: now[0])
    spent = []
    for second in range(0, 180, 5):
        now[0] = float(second)
        if not budget.wait():
            budget.spend()
            spent.append(second)
    # Two of cost 0.5 within any minute, as soon as they are allowed.
    assert spent == [0, 5, 60, 65, 120, 125]
    now[0] = 130.0
    assert budget.wait() == 50.0
    assert RouteBudget(per_minute=0).wait() == 60.0
    assert RouteBudget().wait() == 0.0


def test_the_file_of_the_documentation_is_valid(tmp_path):
    page = (ROOT / "docs" / "how-to" / "route.md").read_text(encoding="utf-8")
    path = tmp_path / "routes.yaml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0])
    config = read_routes(path)
    config.check(str(path), None)
    assert list(config.routes) == ["small", "large", "hired", "facts"]
    path.write_text("routes: {a: {modell: x}}")
    with pytest.raises(LacyError, match=r"E377.*'routes.a.modell'.*did you mean 'routes.a.model'"):
        read_routes(path)


def test_an_abstention_says_who_answers_instead(made):
    router = fit_router(outcome_cases(), RouterSettings(head="tfidf", abstain=1.0))
    for fallback, name in (([], "large"), (["small"], "small")):
        config = RoutesConfig(entries(made), str(made / "router"), fallback)
        plan = RouteTable(config, router).plan(HARD)
        assert plan.order[0] == name and plan.why.endswith(f", so {name} is used")


def test_a_file_of_routes_takes_single_values_and_names_mistakes(tmp_path):
    path = tmp_path / "routes.yaml"
    path.write_text("fallback: a\nroutes:\n  a: {source: world}\n")
    assert read_routes(path).fallback == ["a"] and read_routes(path).routes["a"].source == ["world"]
    for text, words in (
        ("routes:\n  a: {cost: low}\n", "'low' for setting 'routes.a.cost'"),
        ("routes:\n  a:\n", "routes.a"), ("routes: [\n", "cannot be served"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(LacyError, match=rf"E377.*{words}"):
            read_routes(path)


def test_a_head_of_decisions_belongs_to_a_local_model(made, tmp_path):
    from lacy.decide import DecisionHead, LikelihoodFeatures
    from lacy.model import load_model

    loaded = load_model(made / "large")
    uses = LikelihoodFeatures(loaded.model, loaded.tokenizer, loaded.call_id).identity()
    weights = {kind: np.zeros(2) for kind in ("noul", "choice", "score")}
    DecisionHead(weights, uses=uses).save(tmp_path / "head")
    routes = {"small": RouteEntry(str(made / "small")),
              "large": RouteEntry(str(made / "large"), decide=str(tmp_path / "head"))}  # fmt: skip
    body = {"model": "auto", "state": "", "questions": {"q": {"type": "noul", "instructions": "?"}}}
    with serving_routes(RoutesConfig(routes)) as client:
        answer = client.post("/v1/systemone", json=body).json()
    assert answer["model"] == "large" and answer["answers"]["q"]["noul"] == 0.5
