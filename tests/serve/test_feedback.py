"""Records of answers and users' verdicts on them, over HTTP."""

import contextlib
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from helpers.processes import ended, running
from helpers.serving import JSON, problem, serving
from helpers.waiting import PATIENCE, until
from lacy.cascade import Engine
from lacy.cli import main
from lacy.records import RecordLog, read_records
from lacy.serve import Keys
from lacy.sources import ScriptedSource
from lacy.testing import scripted

SECRET = "Zyx Geheimnis 4711"


def speak(text):
    """Repeat the prompt, so that a secret in it would be in the answer too."""
    said = f" {SECRET}."
    return said[next(n for n in range(len(said) - 1, -1, -1) if text.endswith(said[:n]))]


@pytest.fixture(scope="module")
def echoing():
    source = ScriptedSource(lambda request: [" Ulm", None][len(request.text) % 2], name="book")
    return Engine(scripted(speak, context=512), source, "random=0.4", max_new_tokens=24)


@pytest.fixture(params=[False, True], ids=["spans", "texts"])
def logged(request, echoing, tmp_path):
    """A server that keeps records."""
    with (
        RecordLog(tmp_path / "logs", texts=request.param) as records,
        serving(echoing, records=records) as running,
    ):
        running.records = records
        yield running


def wait_for(records, count):
    end = time.monotonic() + 60
    while records.kept + records.lost < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def raw(records):
    return b"".join(path.read_bytes() for path in sorted(records.folder.glob("*.jsonl")))


def test_every_kind_of_answer_is_recorded(logged):
    client = openai.OpenAI(base_url=f"{logged.url}/v1", api_key="none")
    whole = client.completions.create(model="slm", prompt=[SECRET, "b"], n=2, max_tokens=12)
    chunks = list(client.completions.create(model="slm", prompt=SECRET, stream=True))
    message = {"role": "user", "content": SECRET}
    chat = client.chat.completions.create(
        model="slm", messages=[message], extra_body={"lacy": {"subject": SECRET}}
    )
    told = client.responses.create(model="slm", input=SECRET)
    streamed = list(client.responses.create(model="slm", input=SECRET, stream=True))
    echo = client.completions.create(model="slm", prompt=SECRET, echo=True, max_tokens=5)
    wait_for(logged.records, 9)
    found = {(a.record.id, a.record.choice): a.record for a in read_records(
        logged.records.folder).answers}  # fmt: skip
    ids = [whole.id, chunks[0].id, chat.id, told.id, streamed[0].response.id, echo.id]
    assert {key for key, _ in found} == set(ids) and len(found) == 9
    for n, choice in enumerate(whole.choices):
        record = found[whole.id, n]
        assert [s.characters for s in record.spans] == [
            len(s["text"]) for s in choice.lacy["spans"]
        ]
        assert record.policy == "budget=0.4,by=random" and record.finish == choice.finish_reason
        assert [s.asked for s in record.spans] == [s["asked"] for s in choice.lacy["spans"]]
    missing = {s.missing for record in found.values() for s in record.spans if s.asked}
    assert missing == {"", "not found"}
    if logged.records.texts:
        assert found[whole.id, 0].prompt == SECRET
        assert found[whole.id, 0].text == whole.choices[0].text
        assert found[chat.id, 0].subject == SECRET
        assert found[echo.id, 0].spans[0].speaker == "prompt"


def test_no_text_of_a_user_is_kept_by_default(logged):
    if logged.records.texts:
        pytest.skip("texts are kept here")
    own = logged.complete(SECRET, max_tokens=40, lacy={"policy": "never"}).json()
    assert SECRET in own["choices"][0]["text"]  # the answer repeats it
    got = logged.complete(SECRET, max_tokens=40, lacy={"subject": SECRET}).json()
    body = {"id": got["id"], "span": 0, "verdict": "wrong", "correct": SECRET}
    kept = logged.post("/v1/feedback", **body).json()
    assert kept["correct"] is None
    wait_for(logged.records, 3)
    for path in logged.records.folder.rglob("*"):
        for word in SECRET.split():
            assert word.encode() not in path.read_bytes(), path
    assert b"Geh" not in raw(logged.records)


def test_a_verdict_on_a_part_or_all(logged):
    got = logged.complete("a").json()
    spans = got["choices"][0]["lacy"]["spans"]
    place = next(n for n, span in enumerate(spans) if n and span["text"])
    start = sum(len(span["text"]) for span in spans[:place])
    end = start + len(spans[place]["text"])
    one = logged.post("/v1/feedback", id=got["id"], span=place, verdict="wrong", correct="x").json()
    assert one == {
        "object": "feedback", "id": got["id"], "choice": 0, "verdict": "wrong", "start": start,
        "end": end, "correct": "x" if logged.records.texts else None,
    }  # fmt: skip
    two = logged.post("/v1/feedback", id=got["id"], start=1, end=2, verdict="right").json()
    assert (two["start"], two["end"]) == (1, 2)
    assert logged.post("/v1/feedback", id=got["id"], verdict="wrong").json()["start"] is None
    wait_for(logged.records, 4)
    [answer] = read_records(logged.records.folder).answers
    assert [v.verdict for v in answer.verdicts] == ["wrong", "right", "wrong"]


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"id": "cmpl-none"}, 404, "id"),
        ({"choice": 1}, 404, "id"),
        ({"span": 10_000}, 400, "span"),
        ({"span": 0, "start": 0, "end": 1}, 400, "span"),
        ({"start": 3}, 400, "end"),
        ({"end": 3}, 400, "start"),
        ({"start": 3, "end": 3}, 400, "end"),
        ({"start": 0, "end": 100_000}, 400, "end"),
        ({"correct": "x"}, 400, "correct"),
        ({"correct": "x" * 1001, "span": 0}, 400, "correct"),
        ({"verdict": "maybe"}, 400, "verdict"),
        ({"spam": 1}, 400, "spam"),
        ({"id": "x" * 201}, 400, "id"),
        ({"correct": "x" * (1 << 20)}, 413, None),
    ],
)
def test_a_wrong_request_gets_a_clear_error(logged, more, status, param):
    body = {"id": logged.complete("a").json()["id"], "verdict": "wrong"} | more
    error = problem(logged.post("/v1/feedback", **body), status)
    assert error["param"] == param, error
    if status == 404:
        assert error["code"] == "unknown_answer" and "give the id" in error["message"]


def test_a_server_without_records_says_how_to_keep_them(server):
    error = problem(server.post("/v1/feedback", id="a", verdict="wrong"), 404)
    assert error["code"] == "no_records" and "--log-calls" in error["message"]
    assert httpx.get(server.url + "/v1/lacy").json()["feedback"] is False


def test_verdicts_need_a_key_and_count_against_its_rate(echoing, tmp_path):
    keys, now = Keys([], clock=lambda: 0.0), tmp_path / "keys.json"
    key = keys.add(now, "ada", per_minute=3)
    with (
        RecordLog(tmp_path / "logs") as records,
        serving(echoing, records=records, keys=keys) as running,
    ):
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "slm", "prompt": "a", "max_tokens": 3}
        got = running.post("/v1/completions", headers=headers, **body).json()
        problem(running.post("/v1/feedback", id=got["id"], verdict="wrong"), 401)
        wrong = {"Authorization": "Bearer lacy-wrong"}
        problem(running.post("/v1/feedback", headers=wrong, id=got["id"], verdict="wrong"), 401)
        sent = [running.post("/v1/feedback", headers=headers, id=got["id"], verdict="wrong")
                for _ in range(3)]  # fmt: skip
        assert [one.status_code for one in sent] == [200, 200, 429]
        wait_for(records, 3)
        assert key.encode() not in raw(records) and b"ada" not in raw(records)


def test_an_answer_has_a_bounded_number_of_verdicts(logged, monkeypatch):
    monkeypatch.setattr("lacy.records.log.MAX_VERDICTS", 2)
    body = {"id": logged.complete("a").json()["id"], "verdict": "wrong"}
    sent = [logged.post("/v1/feedback", **body).status_code for _ in range(3)]
    assert sent == [200, 200, 400]


def test_a_stream_is_known_before_its_client_sees_its_end(logged):
    """A client that judges an answer as soon as it has ended is never told that it is unknown."""

    def judge(_):
        body = {"model": "slm", "prompt": "a", "stream": True, "max_tokens": 3}
        with httpx.stream("POST", logged.url + "/v1/completions", json=body, timeout=60) as lines:
            for line in lines.iter_lines():
                if '"finish_reason": "length"' in line:
                    ended = json.loads(line[6:])["id"]
                    return logged.post("/v1/feedback", id=ended, verdict="right").status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(judge, range(20))) == {200}


def test_a_client_that_leaves_is_recorded_with_what_it_got(slow, tmp_path):
    with RecordLog(tmp_path) as records, serving(slow, records=records) as running:
        body = {"model": "slm", "prompt": "a", "stream": True}
        with httpx.stream("POST", running.url + "/v1/completions", json=body, timeout=60) as stream:
            next(stream.iter_lines())
        wait_for(records, 1)
        [answer] = read_records(tmp_path).answers
        assert answer.record.finish is None and answer.record.characters > 0


def test_a_failing_disk_degrades_and_says_so(logged, monkeypatch, caplog):
    real, broken = os.write, [True]

    def fail(handle, data):
        if broken[0] and b'"record"' in bytes(data):
            raise OSError(28, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr("lacy.records.log.os.write", fail)
    monkeypatch.setattr("lacy.records.log.RETRY_SECONDS", 0.0)
    got = logged.complete("a")
    assert got.status_code == 200 and got.json()["choices"][0]["text"]
    wait_for(logged.records, 1)
    metrics = httpx.get(logged.url + "/metrics").text
    assert "lacy_records_lost 1.0" in metrics and "lacy_records_kept 0.0" in metrics
    assert any("No space left" in record.getMessage() for record in caplog.records)
    problem(logged.post("/v1/feedback", id=got.json()["id"], verdict="wrong"), 404)
    broken[0] = False
    logged.complete("a")
    wait_for(logged.records, 2)
    assert logged.records.kept == 1 and not logged.records.problem


@pytest.mark.slow
@pytest.mark.parametrize("texts", [False, True])
def test_as_it_is_typed(tmp_path, texts):
    """The server says what it keeps; a secret prompt is in no file and no log by default."""
    from helpers import models
    from lacy.model import save_model

    loaded = models.llama(models.ALL["byte_level"])
    save_model(tmp_path / "mine", loaded.model, loaded.tokenizer)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    logs = tmp_path / "logs"
    url, errors = f"http://127.0.0.1:{port}", tmp_path / "errors.txt"
    command = ["serve", str(tmp_path / "mine"), "--port", str(port), "--log-calls", str(logs),
               *["--log-texts"] * texts]  # fmt: skip

    def described():
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url + "/v1/lacy").json()

    with running(main, command, stderr=errors) as process:
        assert until(described, process)["feedback"] is True
        body = {"model": "mine", "prompt": SECRET, "max_tokens": 3}
        got = httpx.post(url + "/v1/completions", json=body, timeout=120).json()
        body = {"id": got["id"], "verdict": "wrong", "start": 0, "end": 1, "correct": SECRET}
        judged = httpx.post(url + "/v1/feedback", content=json.dumps(body), headers=JSON)
        assert judged.status_code == 200
        os.kill(process.pid, signal.SIGINT)
        ended(process, PATIENCE)
    said = errors.read_text()
    assert "Traceback" not in said and f"Records of answers in {logs}" in said
    assert ("but no prompts and no generated text (--log-texts" in said) is not texts
    [answer] = read_records(logs).answers
    assert answer.record.model == "mine" and len(answer.record.fingerprint) == 16
    everything = said.encode() + b"".join(p.read_bytes() for p in logs.rglob("*"))
    for word in SECRET.split():
        assert (word.encode() in everything) is texts
    assert [v.verdict for v in answer.verdicts] == ["wrong"]


def test_texts_without_a_folder_are_a_mistake(capsys):
    assert main(["serve", "no-such-model", "--log-texts"]) == 2
    assert "--log-calls records --log-texts" in capsys.readouterr().err
    assert main(["serve", "no-such-model", "--log-calls", "x", "--log-mib", "0"]) == 2
