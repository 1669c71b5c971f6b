"""Requests and responses follow the OpenAPI description."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lacy.cascade import Engine  # noqa: E402
from lacy.serve import Keys, Limits, Scheduler, make_app  # noqa: E402
from lacy.sources import ScriptedSource  # noqa: E402

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance, response_headers_conformance,
]  # fmt: skip
SOME = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much,
                           HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.fixture(scope="module")
def app(real):
    source = ScriptedSource([" Łódź", None, RuntimeError("down")], name="book", cost=0.5)
    engine = Engine(real, source, "entropy=1.5", max_new_tokens=3)
    limits = Limits(max_new_tokens=8, choices=2, prompts=2)
    with Scheduler(engine, streams=4) as scheduler:
        yield make_app(scheduler, "slm", limits=limits, prompts=["Mara"])


@pytest.fixture(scope="module")
def schema(app):
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def operations(schema):
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


LABELS = [
    "POST /v1/completions", "POST /v1/chat/completions", "POST /v1/responses", "GET /v1/models",
    "GET /v1/models/{name}", "GET /v1/lacy", "GET /health", "GET /metrics", "POST /v1/feedback",
    "POST /v1/systemone",
]  # fmt: skip


def test_every_path_is_described(schema):
    assert sorted(operations(schema)) == sorted(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_answers_are_as_described(schema, label):
    """Generate what the description allows, and (for bodies) the same with an existing model."""
    operation = operations(schema)[label]

    @SOME
    @given(case=operation.as_strategy(), known=st.booleans(), few=st.integers(1, 8))
    def check(case, known, few):
        if known and isinstance(case.body, dict):
            case.body |= {"model": "slm"}
            case.body |= {} if label == "POST /v1/systemone" else {"max_tokens": few}
            case.body.pop("max_output_tokens", None)
        response = case.call()
        case.validate_response(response, checks=CHECKS)

    check()


WISHES = {
    "n": st.integers(1, 3), "stop": st.text(min_size=1, max_size=2), "stream": st.booleans(),
    "temperature": st.sampled_from([0, 0.5, 2]), "seed": st.integers(0, 9),
    "lacy": st.fixed_dictionaries(
        {}, optional={"policy": st.sampled_from(["always", "never", "budget=0.5", "maybe"]),
                      "unit": st.sampled_from(["token", "word", "value"])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses"])
def test_answers_to_valid_requests_are_as_described(schema, path):
    chat = not path.startswith("/v1/completions")
    prompt = st.text(st.characters(codec="utf-8"), max_size=9)
    extra = {"top_logprobs": st.integers(0, 3)} if path == "/v1/responses" else {
        "logprobs": st.booleans(), "top_logprobs": st.integers(0, 3)} if chat else {
        "logprobs": st.integers(0, 6), "echo": st.booleans(), "max_tokens": st.integers(0, 9)
    }  # fmt: skip

    @SOME
    @given(prompt=prompt, wishes=st.fixed_dictionaries({}, optional=WISHES | extra))
    def check(prompt, wishes):
        said = [{"role": "user", "content": prompt}]
        words = {"messages": said} if chat else {"prompt": prompt}
        words = {"input": said} if path == "/v1/responses" else words
        body = {"model": "slm", **words, **wishes}
        case = schema[path]["POST"].Case(body=body, media_type="application/json")
        response = case.call()
        case.validate_response(response, checks=CHECKS)
        assert response.status_code in (200, 400)

    check()


@SOME
@given(
    state=st.recursive(st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)),
    yes=st.text(st.characters(codec="utf-8"), max_size=9),
    labels=st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5), max_size=4),
    levels=st.lists(st.text(max_size=5), max_size=4),
)
def test_decisions_are_as_described(schema, state, yes, labels, levels):
    questions = {
        "a": {"type": "noul", "instructions": yes}, "b": {"type": "choice", "criteria": labels},
        "c": {"type": "score", "criteria": levels},
    }  # fmt: skip
    body = {"model": "slm", "state": state, "questions": questions}
    case = schema["/v1/systemone"]["POST"].Case(body=body, media_type="application/json")
    response = case.call()
    case.validate_response(response, checks=CHECKS)
    valid = yes.strip() and labels and all(map(str.strip, labels)) and levels
    valid = valid and all(map(str.strip, levels)) and len({*map(str.strip, levels)}) == len(levels)
    assert response.status_code in (200, 400)
    assert valid or response.status_code == 400


def test_the_description_contains_keys(real, tmp_path):
    keys = Keys([])
    keys.add(tmp_path / "keys.json", "ada")
    with Scheduler(Engine(real)) as scheduler:
        told = make_app(scheduler, "slm", keys=keys).openapi()
        open_to_all = make_app(scheduler, "slm").openapi()
    assert told["security"] == [{"key": []}] and told["paths"]["/health"]["get"]["security"] == []
    assert "security" not in open_to_all
    assert all("422" not in o["responses"] for p in told["paths"].values() for o in p.values())
