"""Keys: their file, their rates, and how several share a server."""

import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.raw_http import ASK, HEAD, connected, exchange, status
from helpers.serving import problem, serving
from lacy.cascade import Engine
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.serve import Keys, Limits, Scheduler
from lacy.serve import keys as keys_module
from lacy.serve.admission import Busy, GenerationJob
from lacy.serve.keys import Key
from lacy.testing import scripted

pytestmark = pytest.mark.slow

HASH = "0" * 64


@pytest.fixture(scope="module")
def plain():
    return Engine(scripted(lambda text: "x"), max_new_tokens=2)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def ask(running, key, **body):
    return running.complete(**{"max_tokens": 1, "headers": bearer(key), **body})


def test_the_file_is_readable_only_by_its_owner(tmp_path):
    path = tmp_path / "new" / "keys.json"
    Keys([]).add(path, "ada")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    Keys.load(path).add(path, "bea")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [key.name for key in Keys.load(path).keys] == ["ada", "bea"]
    assert os.listdir(path.parent) == ["keys.json"]


def test_a_link_to_the_file_stays_a_link(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "keys.json")
    Keys([]).add(tmp_path / "link.json", "ada")
    assert (tmp_path / "link.json").is_symlink()
    assert [key.name for key in Keys.load(tmp_path / "keys.json").keys] == ["ada"]


def test_keys_added_by_several_processes_are_all_kept(tmp_path):
    path = tmp_path / "keys.json"
    code = (
        "import sys; from lacy.serve.keys import Keys\n"
        "for n in range(5): print(Keys([]).add(sys.argv[1], sys.argv[2] + str(n)))"
    )
    command = [sys.executable, "-c", code, str(path)]
    makers = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abc"
    ]
    said = [maker.communicate(timeout=240)[0].split() for maker in makers]
    stored = {key.sha256: key.name for key in Keys.load(path).keys}
    assert len(stored) == 15
    for name, texts in zip("abc", said, strict=True):
        names = [stored[hashlib.sha256(text.encode()).hexdigest()] for text in texts]
        assert names == [f"{name}{n}" for n in range(5)]


def test_a_file_that_stays_locked_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "LOCK_SECONDS", 0.1)
    keys = Keys([])
    with lock(tmp_path, name=".keys.json.lock"), pytest.raises(LacyError, match="E145"):
        keys.add(tmp_path / "keys.json", "ada")


@pytest.mark.parametrize("name", ["", "a" * 201, "a\nb", "\x1b[31m", "\udcff"])
def test_an_invalid_name_is_refused(tmp_path, name):
    """Otherwise the file would be invalid, and all keys refused."""
    path = tmp_path / "keys.json"
    ada = Keys([]).add(path, "ada")
    with pytest.raises(LacyError, match="E12"):
        Keys.load(path).add(path, name)
    assert Keys.load(path).find(ada).name == "ada"


def entry(**of):
    return json.dumps({"keys": [{"name": "ada", "sha256": HASH, **of}]})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "1", '{"keys": {}}', '{"keys": [1]}', '{"keys": [[]]}', "\x00",
        '{"keys": [{"name": "ada"}]}', entry(sha256="0" * 63), entry(sha256="0" * 65),
        entry(sha256="g" * 64), entry(sha256="٣" * 64), entry(sha256=HASH + "\n"),
        entry(sha256=int(HASH)), entry(sha256=None), entry(name=""), entry(name=1),
        entry(name="a" * 201), entry(per_minute=0), entry(per_minute=-1), entry(per_minute="6"),
        entry(per_minute=True), entry(per_minute=float("nan")), entry(per_minute=float("inf")),
        entry(per_minute=10**400), entry(per_minute=[]), entry(admin=True),
        '{"keys": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"keys": [' + "9" * 5000 + "]}",
        '{"keys": [], "more": "' + "a" * (1 << 20) + '"}',
    ],
)  # fmt: skip
def test_invalid_files_of_keys_are_refused(tmp_path, text):
    (tmp_path / "keys.json").write_text(text, encoding="utf-8")
    with pytest.raises(LacyError, match="E12") as caught:
        Keys.load(tmp_path / "keys.json")
    assert len(str(caught.value)) < 1000
    with pytest.raises(LacyError, match="E12"):
        Keys([]).add(tmp_path / "keys.json", "bea")
    assert (tmp_path / "keys.json").read_text(encoding="utf-8") == text


def test_folders_and_pipes_are_no_files_of_keys(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(LacyError, match="E13"):
            Keys.load(path)


def test_keys_come_and_go_while_the_server_runs(plain, tmp_path, caplog):
    path = tmp_path / "keys.json"
    ada = Keys([]).add(path, "ada")
    with serving(plain, keys=Keys.load(path)) as running:
        assert ask(running, ada).status_code == 200
        bea = Keys.load(path).add(path, "bea")
        assert [ask(running, key).status_code for key in (ada, bea)] == [200, 200]
        kept = [key for key in json.loads(path.read_text())["keys"] if key["name"] == "bea"]
        path.write_text(json.dumps({"keys": kept}))
        assert [ask(running, key).status_code for key in (ada, bea)] == [401, 200]
        for wrong in ("", "{", None):  # nobody is let in, with an old key or a new one
            path.unlink() if wrong is None else path.write_text(wrong)
            got = ask(running, bea)
            assert problem(got, 503)["code"] == "keys_unreadable"
            assert int(got.headers["retry-after"]) >= 1 and str(tmp_path) not in got.text
            assert httpx.get(running.url + "/v1/models").status_code in (401, 503)
            assert httpx.get(running.url + "/health").status_code == 200
        path.write_text('{"keys": []}')
        assert ask(running, bea).status_code == 401
        path.write_text(json.dumps({"keys": kept}))
        assert [ask(running, key).status_code for key in (ada, bea)] == [401, 200]
    told = [r.getMessage() for r in caplog.records if "all keys are refused" in r.getMessage()]
    assert len(told) == 3 and all(str(path) in line for line in told)


def test_a_body_without_a_key_is_not_read(plain, tmp_path):
    path = tmp_path / "keys.json"
    key = Keys([]).add(path, "ada")
    with serving(plain, keys=Keys.load(path)) as running:
        for given in (
            b"",
            b"Authorization: Bearer lacy-wrong\r\n",
            b"Authorization: Basic YTpi\r\n",
        ):
            with connected(running) as sock:
                sock.sendall(HEAD + given + b"Content-Length: 1000\r\n\r\n")
                assert status(sock.recv(65536)) == 401
        given = f"Authorization: bearer {key}\r\nConnection: close\r\n".encode()
        assert status(exchange(running, HEAD + given + ASK.removeprefix(HEAD))) == 200


def test_a_rate_counts_texts(plain, tmp_path):
    path = tmp_path / "keys.json"
    key = Keys([]).add(path, "ada", per_minute=6)
    with serving(plain, keys=Keys.load(path)) as running:
        too_much = problem(ask(running, key, prompt=["a"] * 3, n=3), 400)
        assert too_much["code"] == "above_limit" and "6" in too_much["message"]
        assert ask(running, key, prompt=["a", "b"], n=2).status_code == 200  # 4, and 1 for the 400
        late = ask(running, key, n=2)
        assert problem(late, 429)["code"] == "rate_limit_exceeded"
        assert 5 <= int(late.headers["retry-after"]) <= 10  # one is left, the other comes in 10 s
        assert ask(running, key, prompt=[["x"]]).status_code == 400  # a mistake costs one text
        assert ask(running, key).status_code == 429
        for _ in range(20):
            assert httpx.get(running.url + "/v1/models", headers=bearer(key)).status_code == 200


@settings(max_examples=200, deadline=None)
@given(
    rate=st.floats(0.01, 1000),
    asked=st.lists(st.tuples(st.integers(1, 20), st.floats(0, 100)), max_size=20),
)
def test_after_retry_after_a_key_is_accepted(rate, asked):
    now = [0.0]
    key = Key("ada", HASH, rate)
    keys = Keys([key], clock=lambda: now[0])
    told = 0
    for texts, later in asked:
        now[0] += later
        texts = min(texts, int(key.burst))
        if seconds := keys.charge(key, texts):
            now[0] += seconds
            assert keys.charge(key, texts) == 0.0
        told += texts
    assert told <= key.burst + now[0] * rate / 60 + 1e-3


def test_refused_texts_are_not_counted():
    key = Key("ada", HASH, 6)
    keys = Keys([key], clock=lambda: 0.0)
    assert keys.charge(key, 1) == 0.0
    assert keys.charge(key, 7, charged=1) > 0.0
    assert keys.charge(key, 6) == 0.0 and keys.charge(key, 1) == pytest.approx(10)


def orders(engine, owner, number, limit=400, **how):
    return [GenerationJob(engine, "a", limit, owner=owner, **how) for _ in range(number)]


def fill(scheduler, engine, owner, limit=400):
    """Submit as many texts as one key may, and return their number."""
    for taken in range(1000):
        try:
            scheduler.submit(*orders(engine, owner, 1, limit))
        except Busy:
            return taken
    raise AssertionError("no end")


def until(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_key_cannot_use_all_streams(slow):
    with Scheduler(slow, streams=4, queue=8) as scheduler:
        assert fill(scheduler, slow, "ada") == 6
        until(lambda: scheduler.running == 3)  # not all four, though some of hers wait
        [order] = orders(slow, "bea", 1)
        scheduler.submit(order)
        until(lambda: order.started_at)
        assert fill(scheduler, slow, "bea") == 3  # and the one from above
        assert fill(scheduler, slow, "cid") >= 1


def test_a_free_stream_goes_to_the_key_with_the_fewest_texts(slow):
    with Scheduler(slow, streams=4, queue=20) as scheduler:
        ada = orders(slow, "ada", 10, limit=30)
        scheduler.submit(*ada)
        until(lambda: scheduler.running == 3)
        bea = orders(slow, "bea", 4, limit=30)
        scheduler.submit(*bea)
        until(lambda: not len(scheduler._jobs))
        begun = sorted((order.started_at, order.owner) for order in ada + bea)
        assert [owner for _, owner in begun[:3]] == ["ada"] * 3
        assert [owner for _, owner in begun[3:7]].count("bea") >= 2


def test_a_request_for_many_texts_is_not_starved(slow):
    """Even if they are more than a key may run beside others."""
    with Scheduler(slow, streams=4, queue=20) as scheduler:
        scheduler.submit(*orders(slow, "ada", 2, limit=20))
        [many] = orders(slow, "ada", 1, limit=20, count=4)
        scheduler.submit(many)
        scheduler.submit(*orders(slow, "bea", 4, limit=20))
        until(lambda: not len(scheduler._jobs))
        assert many.started_at and not many.remaining


def test_without_keys_all_streams_are_used(slow):
    with Scheduler(slow, streams=4, queue=8) as scheduler:
        assert fill(scheduler, slow, None) == 12
        until(lambda: scheduler.running == 4)


def test_keys_share_a_server(slow, tmp_path):
    path = tmp_path / "keys.json"
    ada, bea = (Keys([]).add(path, name) for name in ("ada", "bea"))
    with serving(slow, streams=2, queue=2, keys=Keys.load(path)) as running:
        got = []

        def flood():
            got.append(ask(running, ada, max_tokens=100, timeout=120).status_code)

        threads = [threading.Thread(target=flood) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: got.count(429) >= 6)
        assert ask(running, bea, max_tokens=2).status_code == 200
        for thread in threads:
            thread.join()
        assert sorted(set(got)) == [200, 429]


@pytest.mark.parametrize(("streams", "queue"), [(1, 1), (2, 0)])
def test_busy_says_when_there_is_room(slow, streams, queue):
    """After that time a request is accepted, and not much earlier."""
    with serving(slow, streams=streams, queue=queue) as running:
        scheduler = running.scheduler
        scheduler.submit(*orders(slow, None, streams + queue, limit=300))
        until(lambda: all(o.started_at for o in list(scheduler._jobs)[:streams]))
        time.sleep(0.2)
        refused = running.complete("b", max_tokens=1)
        assert problem(refused, 429)["code"] == "busy"
        seconds = int(refused.headers["retry-after"])
        begun = [order for order in scheduler._jobs if order.started_at]
        assert seconds >= 0.01 * min(left for order in begun for left in order.tokens_left)
        end = time.monotonic() + 2 * seconds  # others may slow the machine meanwhile
        time.sleep(seconds)
        while (got := running.complete("b", max_tokens=1)).status_code == 429:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert got.status_code == 200


def test_the_wait_for_room_counts_texts():
    def engine(text):
        time.sleep(0.01)
        return "x"

    slow = Engine(scripted(engine, context=4096), max_new_tokens=500)
    with Scheduler(slow, streams=2, queue=4) as scheduler:
        scheduler.submit(*orders(slow, None, 6, limit=200))
        until(lambda: scheduler.running == 2)
        waits = []
        for wanted in (1, 2, 3, 5):
            with pytest.raises(Busy) as busy:
                scheduler.submit(*orders(slow, None, 1, count=wanted))
            waits.append(busy.value.seconds)
        assert waits == sorted(waits) and waits[0] > 0 and waits[2] > 1.2 * waits[0]


def test_limits_are_checked_before_anything_is_computed(plain, tmp_path, caplog):
    path = tmp_path / "keys.json"
    key = Keys([]).add(path, "ada", per_minute=3)
    caplog.set_level(logging.INFO, logger="lacy.serve")
    with serving(plain, keys=Keys.load(path), limits=Limits(prompts=2000)) as running:
        got = ask(running, key, prompt=["a"] * 12, n=8)
        assert got.status_code == 400
    notes = [json.loads(r.getMessage()) for r in caplog.records if r.getMessage()[0] == "{"]
    assert "tokens" not in notes[-1]
