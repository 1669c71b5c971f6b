"""Cached answers: keys, eviction, shared files, damaged files."""

import asyncio
import multiprocessing
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.sources import Breaker, Cached, Chain, Database, LanguageModel, Metered, ScriptedSource
from lacy.sources.models import Endpoint
from lacy.testing import byte_tokenizer, scripted
from lacy.types import Candidate, Reply, Request


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "answers.sqlite"


def ask(source, *texts, **options):
    return asyncio.run(source.ask([Request(text, **options) for text in texts]))


def texts(replies):
    return [reply.candidates[0].text if reply.candidates else None for reply in replies]


def echo(**options):
    return ScriptedSource(lambda request: " " + request.text, **options)


def test_a_cached_answer_costs_nothing_and_says_so(path):
    with Cached(echo(cost=1.0, delay=0.05), path) as cached:
        first = ask(cached, "a", "b", "a")
        assert texts(first) == [" a", " b", " a"]
        assert [reply.cost for reply in first] == [1.0, 1.0, 0.0]
        again = ask(cached, "b", "c")
        assert [reply.cost for reply in again] == [0.0, 1.0]
        assert again[0].candidates[0].evidence == "line of script; from the cache"
        assert again[0].seconds < 0.05 <= again[1].seconds
        assert cached.source.batches == [2, 1]  # equal requests are asked once
        assert (cached.hits, cached.misses, len(cached)) == (1, 4, 3)
    assert texts(ask(cached, "a")) == [" a"]  # closed: it asks
    assert len(cached.source.batches) == 3
    with Cached(echo(), path) as later:
        assert ask(later, "a")[0].candidates[0].evidence.endswith("; from the cache")
        assert later.source.batches == []


def test_everything_an_answer_depends_on_is_in_the_key(path, server):
    source = echo()
    with Cached(source, path) as cached, Cached(source, path, version="2") as other:
        ask(cached, "a")
        ask(cached, "a", unit="word")
        ask(cached, "a", subject="Ada")
        ask(cached, "a", stream=9)  # which of the running texts asks makes no difference
        ask(other, "a")
    assert len(source.asked) == 4
    for number, options in enumerate(
        [{}, {"body": {"seed": 1}}, {"max_tokens": 3}, {"mode": "chat"}]
    ):
        with Endpoint(server.url, "m", **options) as endpoint, Cached(endpoint, path) as cached:
            ask(cached, "a")
            ask(cached, "a")
            assert len(server.seen) == number + 1


def test_sources_with_one_name_have_different_keys(path, server, tmp_path):
    """Two servers with a model of the same name, two databases of the same file name, two runs."""
    here = Endpoint(server.url, "m")
    there = Endpoint(server.url + "/other", "m")
    facts = []
    for number in "12":
        (tmp_path / number).mkdir()
        with sqlite3.connect(tmp_path / number / "facts.sqlite") as db:
            db.execute("CREATE TABLE fact (subject, relation, value)")
        db.close()
        facts.append(Database(tmp_path / number / "facts.sqlite"))
    models = [LanguageModel(scripted(lambda text: "").model, byte_tokenizer()) for _ in "12"]
    for model, place in zip(models, "ab", strict=True):
        model.model.name_or_path = f"{place}/model"
    for one, other in [(here, there), facts, models]:
        for wrap in (
            lambda s: s,
            Breaker,
            Metered,
            lambda s: Chain([ScriptedSource([]), Breaker(s)], name="all"),
            lambda s: Cached(s, path),
        ):
            wrapped = [wrap(one), wrap(other), wrap(one)]
            keys = [Cached(source, path) for source in wrapped]
            first, second, again = [cached._key(Request("x")) for cached in keys]
            assert first == again != second
            for cached in [*keys, *(w for w in wrapped if isinstance(w, Cached))]:
                cached.close()
    for source in (here, there, *facts):
        source.close()


def test_errors_are_not_cached_but_empty_replies_are(path):
    source = ScriptedSource([ConnectionError("refused"), None, " Paris"])
    with Cached(source, path) as cached:
        assert "refused" in ask(cached, "a")[0].error
        assert ask(cached, "a")[0].error is None
        assert texts(ask(cached, "a")) == [None] and len(source.batches) == 2


def test_a_failing_batch_does_not_remove_cached_answers(path):
    source = echo()
    with Cached(source, path) as cached:
        ask(cached, "a")
        source.script = [ConnectionError("refused")]
        replies = ask(cached, "a", "b")
        assert texts(replies) == [" a", None] and replies[1].fault


def test_the_least_recently_used_answer_is_evicted_first(path):
    with Cached(echo(), path, rows=3) as cached:
        ask(cached, "a", "b", "c")
        ask(cached, "a")
        ask(cached, "d", "e")
        assert len(cached) == 3
        asked = len(cached.source.asked)
        ask(cached, "a", "d", "e")
        assert len(cached.source.asked) == asked
        ask(cached, "b")
        assert len(cached.source.asked) == asked + 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=1), max_size=40), st.integers(1, 6)
)
def test_eviction_equals_a_simple_lru_list(tmp_path_factory, batches, rows):
    place = tmp_path_factory.mktemp("lru") / "answers.sqlite"
    recent = []
    with Cached(echo(), place, rows=rows) as cached:
        for [number] in batches:
            before = len(cached.source.asked)
            ask(cached, str(number))
            assert (len(cached.source.asked) == before) == (number in recent)
            recent = [*(n for n in recent if n != number), number][-rows:]
            assert len(cached) == len(recent)


REPLIES = st.builds(
    Reply,
    candidates=st.lists(
        st.builds(
            Candidate, text=st.text(min_size=1), evidence=st.text(), kind=st.text(),
            alternatives=st.floats(1, 1e9), subject=st.text(),
        ),
        max_size=3,
    ).map(tuple),
    ranked=st.booleans(),
    cost=st.floats(0, 10),
    speaker=st.text(max_size=5),
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(REPLIES)
def test_a_reply_is_stored_whole(reply):
    with (
        tempfile.TemporaryDirectory() as folder,
        Cached(ScriptedSource([reply]), Path(folder) / "cache.sqlite") as cached,
    ):
        [fresh], [stored] = ask(cached, "a"), ask(cached, "a")
    assert (stored.ranked, stored.speaker, stored.cost) == (fresh.ranked, fresh.speaker, 0.0)
    for mine, theirs in zip(stored.candidates, fresh.candidates, strict=True):
        assert mine.evidence.startswith(theirs.evidence) and "from the cache" in mine.evidence
        for name in ("text", "kind", "alternatives", "subject"):
            assert getattr(mine, name) == getattr(theirs, name)


# --------------------------------------------------------------------------------- processes

WORK = """
import asyncio, sys
from lacy.sources import ScriptedSource
from lacy.sources import Cached
from lacy.types import Request
source = ScriptedSource(lambda request: " " + request.text)
with Cached(source, sys.argv[1], rows=50) as cached:
    for n in range(int(sys.argv[2]), int(sys.argv[3])):
        [reply] = asyncio.run(cached.ask([Request(f"t{n}")]))
        assert reply.candidates[0].text == f" t{n}", reply
print(len(source.asked))
"""


def work(path, first, last):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORK, path, str(first), str(last)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_share_it(path):
    path.parent.mkdir()
    both = [work(path, 0, 120), work(path, 60, 180)]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with Cached(echo(), path, rows=50) as cached:
        assert len(cached) == 50
    asked = [int(work(path, 200, 205).communicate(timeout=60)[0]) for _ in range(2)]
    assert asked == [5, 0]  # the second process knows what the first one asked for


def _in_child(cached, queue):
    queue.put(texts(ask(cached, "a", "child")))


def test_a_fork_opens_its_own_connection(path):
    fork = multiprocessing.get_context("fork")
    with Cached(echo(), path) as cached:
        ask(cached, "a")
        queue = fork.SimpleQueue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of forks beside threads
            child = fork.Process(target=_in_child, args=(cached, queue))
            child.start()
        assert queue.get() == [" a", " child"]
        child.join(10)
        ask(cached, "child", "b")
        assert [request.text for request in cached.source.asked] == ["a", "b"]


# ----------------------------------------------------------------------------------- damage


def set_aside(path):
    return [p for p in path.parent.iterdir() if ".damaged-" in p.name]


def test_a_file_that_is_no_database_is_set_aside(path):
    path.parent.mkdir()
    path.write_bytes(b"a diary, not a database" * 100)
    with pytest.warns(RuntimeWarning, match="is damaged.*renamed"):
        cached = Cached(echo(), path)
    with cached:
        assert texts(ask(cached, "a")) == [" a"] and len(cached) == 1
    [aside] = set_aside(path)
    assert aside.read_bytes().startswith(b"a diary")


def test_files_of_other_programs_are_not_changed(tmp_path):
    notes, facts = tmp_path / "notes.md", tmp_path / "facts.sqlite"
    notes.write_text("a diary")
    with closing(sqlite3.connect(facts)) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
    before = {path: path.read_bytes() for path in (notes, facts)}
    for path in before:
        with pytest.raises(LacyError, match=r"E73.*name another file"):
            Cached(echo(), path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damage_in_the_middle_is_found_when_opened(path):
    with Cached(echo(), path) as cached:
        for n in range(20):
            ask(cached, *(f"{n} {m} {'x' * 200}" for m in range(20)))
    raw = bytearray(path.read_bytes())
    raw[8192:40000] = b"\x5a" * (40000 - 8192)
    path.write_bytes(raw)
    with pytest.warns(RuntimeWarning, match="is damaged"), Cached(echo(), path) as cached:
        assert len(cached) == 0 and texts(ask(cached, "a")) == [" a"]


def test_damage_while_open_loses_only_the_cached_answers(path):
    with Cached(echo(), path) as cached:
        ask(cached, "a")
        cached._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"\x00garbage" * 1000)
        cached._db.execute("PRAGMA shrink_memory")  # pages in memory would hide the damage
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert texts(ask(cached, "a", "b")) == [" a", " b"]
        assert texts(ask(cached, "b")) == [" b"] and len(cached) >= 1
    assert len(set_aside(path)) >= 1


def test_invalid_rows_are_asked_again(path):
    with Cached(echo(), path) as cached:
        ask(cached, "a")
        for nonsense in ("no json", "5", "{}", '{"candidates": [{"word": 1}]}'):
            cached._db.execute("UPDATE answer SET reply = ?", (nonsense,))
            asked = len(cached.source.asked)
            assert texts(ask(cached, "a")) == [" a"]
            assert len(cached.source.asked) == asked + 1


def test_a_locked_file_is_ignored(path, monkeypatch):
    monkeypatch.setattr("lacy.sources.cached._BUSY_SECONDS", 0.05)
    with Cached(echo(), path) as cached:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        assert texts(ask(cached, "a")) == [" a"]
        other.rollback()
        other.close()
        assert len(cached) == 0
        ask(cached, "a")
        assert len(cached) == 1


def test_a_file_that_cannot_be_opened_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "answers.sqlite"):
        with pytest.raises(LacyError) as caught:
            Cached(echo(), place)
        assert caught.value.code == "E73" and isinstance(caught.value.values["path"], Path)
    with pytest.raises(LacyError, match="E12"):
        Cached(echo(), tmp_path / "a.sqlite", rows=0)


def test_no_api_key_is_stored(path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sesame-0123456789")
    with Endpoint(server.url, "m") as endpoint, Cached(endpoint, path) as cached:
        ask(cached, "a")
    assert server.seen[0][1]["Authorization"].endswith("sesame-0123456789")
    assert all(b"sesame" not in file.read_bytes() for file in path.parent.iterdir())
