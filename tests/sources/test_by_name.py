"""Sources of the command line: order, metering, caching, prices; flags over files."""

import asyncio
import sqlite3

import pytest

from lacy.cascade import default_policy
from lacy.cascade.by_name import is_lookup
from lacy.cli.flags import parse
from lacy.cli.generate import GenerateConfig
from lacy.cli.serve import _prompts
from lacy.config import load
from lacy.errors import LacyError
from lacy.sources import (
    Breaker,
    Cached,
    Chain,
    Database,
    Metered,
    open_source,
    open_sources,
    wrapped_sources,
)
from lacy.sources.db import draft_mapping
from lacy.sources.models import Endpoint
from lacy.types import Request

TAUGHT = {"training": {"settings": {"method": "lacy", "call_negative": "softmax"}}}


@pytest.fixture
def facts(tmp_path):
    db = sqlite3.connect(tmp_path / "facts.sqlite")
    db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
    db.execute("INSERT INTO fact VALUES ('Mara Vell', 'birth_place', 'Ulm')")
    db.commit()
    db.close()
    return str(tmp_path / "facts.sqlite")


def ask(source, text):
    [reply] = asyncio.run(source.ask([Request(text)]))
    return reply


def kinds(source):
    return [type(wrapped).__name__ for wrapped in wrapped_sources(source)]


def test_open_none_one_and_several_sources(facts, server):
    address = f"{server.url}#m"
    assert open_sources([]) is None
    assert kinds(open_sources([facts])) == ["Metered", "Database"]
    both = open_sources([facts, address])
    assert kinds(both) == ["Chain", "Metered", "Database", "Metered", "Breaker", "Endpoint"]
    assert both.timeouts == [12.5, 12.5]
    kept = open_sources([address, facts], cache=f"{facts}.kept")
    wanted = ["Chain", "Metered", "Cached", "Breaker", "Endpoint", "Metered", "Database"]
    assert kinds(kept) == wanted  # what looks up is not kept


def test_sources_are_asked_in_order_and_metered(facts, server):
    source = open_sources([facts, f"{server.url}#m"], prices=["1,4"])
    first = ask(source, "Mara Vell was born in")
    assert (first.speaker, first.candidates[0].text, first.cost) == ("facts.sqlite", " Ulm", 0)
    second = ask(source, "Tomas Brill was born in")
    assert (second.speaker, second.candidates[0].text) == ("m", " Paris")
    assert second.cost == pytest.approx((7 * 1 + 3 * 4) / 1e6)
    assert "facts" in second.candidates[0].evidence  # why it was asked
    counted = [s.usage for s in wrapped_sources(source) if isinstance(s, Metered)]
    assert [usage.requests for usage in counted] == [2, 1]
    assert [usage.answered for usage in counted] == [1, 1]


def test_cached_answers_are_paid_once(facts, server, tmp_path):
    for cost in (7e-6, 0):
        source = open_sources(
            [f"{server.url}#m"], cache=tmp_path / "answers.sqlite", prices=["1,0"]
        )
        reply = ask(source, "He was born in")
        assert reply.candidates[0].text == " Paris" and reply.cost == pytest.approx(cost)
    assert len(server.seen) == 1


def test_a_price_of_one_source_of_several(server):
    addresses = [f"{server.url}#a", f"{server.url}#b"]
    source = open_sources(addresses, prices=["1,2", "b=3,4"])
    prices = [s.price for s in wrapped_sources(source) if isinstance(s, Endpoint)]
    assert prices == [(1, 2), (3, 4)]


@pytest.mark.parametrize("price", ["", "1", "1,2,3", "a,b", "-1,2", "nan,1", "1,inf", "c=1,2"])
def test_prices_that_cannot_be_used(server, price):
    with pytest.raises(LacyError, match="E106"):
        open_sources([f"{server.url}#m"], prices=[price])


def test_look_up_sources_have_no_price(facts):
    with pytest.raises(LacyError, match="can have a price: none"):
        open_sources([facts], prices=["1,2"])


def test_the_automatic_policy_looks_at_the_first(facts, server):
    address = f"{server.url}#m"
    assert is_lookup(open_source(facts)) and is_lookup(open_sources([facts, address]))
    assert not is_lookup(open_sources([address, facts])) and not is_lookup(None)
    policy, why = default_policy(open_sources([facts, address]), TAUGHT)
    assert str(policy) == "threshold=0" and "a database costs nothing" in why
    assert str(default_policy(open_sources([address, facts]), TAUGHT)[0]) == "budget=0.22"


def test_repeated_flags_replace_those_of_a_file(tmp_path):
    def read(*argv):
        return parse(GenerateConfig, ["m", *argv], command="generate").source

    assert read() == [] and read("--source", "a", "--source", "b") == ["a", "b"]
    for written, wanted in (("a", ["a"]), ("[a, b]", ["a", "b"]), ("null", []), ("[]", [])):
        file = tmp_path / "generate.yaml"
        file.write_text(f"source: {written}\n")
        assert read("--config", str(file)) == wanted
        assert read("--config", str(file), "--source=c") == ["c"]
        assert read("--config", str(file), "--source", "c", "--source", "d") == ["c", "d"]
        assert load(GenerateConfig, file, {"model": "m"}).source == wanted
    file.write_text("source: [1]\n")
    with pytest.raises(LacyError, match="source"):
        load(GenerateConfig, file, {"model": "m"})


def test_prompts_come_from_the_first_world(tmp_path, facts):
    assert _prompts([]) == _prompts([facts, str(tmp_path)]) == []


def test_open_sources_wraps_as_documented(facts, server, tmp_path):
    source = open_sources([facts, f"{server.url}#m"], cache=tmp_path / "answers.sqlite")
    chain, metered, database, _, cached, breaker, endpoint = wrapped_sources(source)
    assert isinstance(chain, Chain) and isinstance(metered, Metered)
    assert isinstance(database, Database) and isinstance(cached, Cached)
    assert isinstance(breaker, Breaker) and isinstance(endpoint, Endpoint)


@pytest.mark.parametrize(
    "address",
    [
        "mysql://u:s3cr3t@h/d", "postgresql+psycopg2://u:s3cr3t@h/d", "duckdb://u:s3cr3t@d",
        "sqlite:///s3cr3t.sqlite", "ftp://u:s3cr3t@h/facts.sqlite", "host=h password=s3cr3t",
    ],
)  # fmt: skip
def test_an_unknown_address_shows_no_password(address, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text(f"database: '{address}'\nsubject: a.b\nrelations: {{c: a.d}}\n")
    for attempt in (
        lambda: open_source(address),
        lambda: open_source(str(mapping)),
        lambda: Database(address),
        lambda: draft_mapping(address, tmp_path / "n.yaml"),
    ):
        with pytest.raises(LacyError, match=r"E12|E65|E94") as caught:
            attempt()
        assert "s3cr3t" not in str(caught.value) + repr(caught.value.values)
