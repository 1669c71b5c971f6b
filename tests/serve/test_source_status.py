"""The status of sources in ``/v1/lacy``."""

import contextlib
import sqlite3

import httpx

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.serve import Keys
from lacy.serve.source_status import source_status
from lacy.sources import Breaker, Cached, Chain, Database, Metered, ScriptedSource
from lacy.sources.models import Endpoint

FIELDS = {
    "name", "kind", "where", "price", "resting", "failing", "requests", "found", "not_found",
    "errors", "seconds_median", "seconds_p95", "cost",
}  # fmt: skip


def asked(engine, policy="always", count=3):
    """Return the status of sources before and after some texts."""
    with serving(engine) as running:
        before = httpx.get(running.url + "/v1/lacy").json()["sources"]
        spans = []
        for number in range(count):
            got = running.complete("Mara " * (number + 1), max_tokens=6, lacy={"policy": policy})
            spans += got.json()["choices"][0]["lacy"]["spans"]
        after = httpx.get(running.url + "/v1/lacy").json()["sources"]
    return before, after, spans


def test_one_source_and_its_counts(real):
    source = ScriptedSource([" Ulm", None], name="book", cost=0.5)
    before, after, spans = asked(Engine(real, source))
    assert [set(s) for s in before] == [FIELDS]
    assert before[0]["requests"] == 0 and before[0]["cost"] == 0 and before[0]["where"] is None
    assert after[0]["name"] == "book" and after[0]["kind"] == "script"
    calls = [span for span in spans if span["asked"]]
    assert after[0]["requests"] == len(source.asked) == len(calls) > 3
    assert after[0]["cost"] == sum(span["cost"] for span in calls)
    assert 0 < after[0]["seconds_median"] <= after[0]["seconds_p95"] < 1


def test_finding_nothing_is_no_error(real, tmp_path):
    """A database without the fact, a source with it, and a source that fails."""
    path = tmp_path / "facts.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        made.execute("INSERT INTO fact VALUES ('Ulm', 'river', 'Danube')")
        made.commit()
    with Database(path) as database:
        _, [told], spans = asked(Engine(real, database))
    calls = sum(span["asked"] for span in spans)
    assert told["requests"] == told["not_found"] == calls > 3
    assert told["found"] == told["errors"] == 0

    known = {True: None, False: " Ulm"}
    source = ScriptedSource(lambda r: known["Ulm" in r.text], name="book")
    broken = ScriptedSource([RuntimeError("down")], name="down")
    _, [first, second], spans = asked(Engine(real, Chain([source, broken])))
    found = sum(span["speaker"] == "book" for span in spans)
    assert first["found"] == found > 0 and first["not_found"] == second["errors"] > 0
    assert first["errors"] == second["found"] == second["not_found"] == 0


def test_calls_are_counted_by_outcome(real):
    known = {0: " Ulm", 1: None, 2: RuntimeError("down")}
    with serving(Engine(real, ScriptedSource(lambda r: known[len(r.text) % 3]))) as running:
        spans = []
        for number in range(4):
            got = running.complete("Mara " * (number + 1), max_tokens=8, lacy={"policy": "always"})
            spans += [s for s in got.json()["choices"][0]["lacy"]["spans"] if s["asked"]]
        figures = httpx.get(running.url + "/metrics").text
        [told] = httpx.get(running.url + "/v1/lacy").json()["sources"]
    outcomes = {
        "found": sum(span["speaker"] != "slm" for span in spans),
        "not_found": sum(span["speaker"] == "slm" and not span["fault"] for span in spans),
        "failed": sum(span["fault"] for span in spans),
    }
    for outcome, count in outcomes.items():
        assert count and f'lacy_calls_total{{outcome="{outcome}"}} {count:.1f}' in figures
    assert [told["found"], told["not_found"], told["errors"]] == list(outcomes.values())


def test_a_chain_lists_its_members_in_order(real, tmp_path):
    down = ScriptedSource([RuntimeError("down")], name="down")
    silent = ScriptedSource([], name="silent")
    book = ScriptedSource([" Ulm"], name="book", cost=1.0)
    chain = Chain([Breaker(down, failures=2, cooldown=600), silent, book])
    for source in (chain, Cached(chain, tmp_path / "answers.sqlite"), Metered(chain)):
        silent.asked, book.asked, down.asked = [], [], []
        before, after, _ = asked(Engine(real, source))
        assert [s["name"] for s in after] == ["down", "silent", "book"]
        assert [s["resting"] for s in after] == [True, False, False]
        assert not any(s["failing"] for s in after[1:])
        assert [s["requests"] for s in before] == [0, 0, 0]
        assert after[0]["requests"] == after[0]["errors"] == after[2]["requests"]
        assert after[1]["requests"] == len(silent.asked) and after[1]["errors"] == 0
        assert after[2]["cost"] == len(book.asked) > 0
        assert [type(link) for link in chain.sources] == [Breaker, ScriptedSource, ScriptedSource]


def test_addresses_and_prices_contain_no_secrets(tmp_path):
    with Endpoint("http://127.0.0.1:9/v1", "large", price=(0.5, 1.5)) as endpoint:
        [one] = source_status(Cached(endpoint, tmp_path / "private" / "answers.sqlite"))
    assert one["kind"] == "model behind a server" and one["where"] == "http://127.0.0.1:9/v1"
    assert one["price"] == {"input": 0.5, "output": 1.5}

    class PostgresFacts(ScriptedSource):
        def __init__(self, **of):
            super().__init__([], name="facts")
            vars(self).update(of)

    [one] = source_status(
        PostgresFacts(url="postgresql://ada:secret@db:5432/facts?password=secret")
    )
    assert one["where"] == "postgresql://db:5432/facts" and one["kind"] == "script"
    [one] = source_status(PostgresFacts(path=tmp_path / "facts.sqlite", cost=float("inf")))
    assert one["where"] == "facts.sqlite" and one["price"] is None
    assert source_status(None) == []


def test_it_needs_a_key_if_the_server_does(real, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada")
    with serving(Engine(real), keys=keys) as running:
        url = running.url + "/v1/lacy"
        assert httpx.get(url).status_code == 401
        got = httpx.get(url, headers={"Authorization": f"Bearer {key}"})
        assert got.status_code == 200 and got.json()["sources"] == []


def test_an_unknown_policy_in_a_model_name_is_an_error(engine):
    with serving(engine) as running:
        for name, status in (("slm", 200), ("slm:never", 200), ("slm:nonsense", 400), ("x", 404)):
            assert httpx.get(f"{running.url}/v1/models/{name}").status_code == status
