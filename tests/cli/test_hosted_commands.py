"""Commands with a model on another server."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from rich.console import Console

from helpers import hosted_app
from lacy.cascade import Engine
from lacy.cascade.hosted_model import connect
from lacy.cli import main, streaming
from lacy.cli.chat import ChatConfig, Conversation
from lacy.cli.serve import ServeConfig, _open
from lacy.model import load_model
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hosted_app.talker(tmp_path_factory.mktemp("hosted") / "slm")


@pytest.fixture(scope="module")
def place(folder):
    loaded = load_model(folder)
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (url, there):
        yield f"{url}#slm", there


def test_spans_arrive_one_by_one(place, folder):
    source = ScriptedSource([" ulm,"], name="book")
    address, there = place
    engine = Engine(
        connect(address.partition("#")[0], "slm", folder), source, "threshold=0", max_new_tokens=20
    )
    expected = Engine(
        load_model(folder), source, "threshold=0", read=0, max_new_tokens=20
    ).generate(["x"])[0]
    heard = []
    with LoopThread() as loop_thread:
        answer = streaming.generate_live(
            engine, loop_thread, engine.sequence(0, "x", None, engine.max_new_tokens), heard.append
        )
        assert [(s.text, s.speaker) for s in answer.spans] == [
            (s.text, s.speaker) for s in expected.spans
        ]
        assert "x" + "".join(piece.text for piece in heard) == answer.text
        assert len(heard) > 5 and any(piece.speaker == "book" for piece in heard)
        # and again, as a second line of a conversation is
        assert (
            streaming.generate_live(
                engine,
                loop_thread,
                engine.sequence(0, "x", None, engine.max_new_tokens),
                heard.append,
            ).text
            == answer.text
        )
    assert engine.generate(["x"])[0].text == answer.text
    end = time.monotonic() + 120
    while there.streams:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ctrl_c_ends_an_answer_whose_server_hangs(place, folder):
    address, there = place
    engine = Engine(connect(address.partition("#")[0], "slm", folder), None, "never")
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    with there.lock, LoopThread() as loop_thread:
        timer.start()
        answer = streaming.generate_live(
            engine,
            loop_thread,
            engine.sequence(0, "Mara", None, engine.max_new_tokens),
            lambda piece: None,
            stoppable=True,
        )
    assert answer.text == "Mara" and not answer.finished
    assert time.monotonic() - begin < 60
    timer.join()


def test_generate_in_a_terminal_shows_the_text_once(place, folder, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes that for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    words = ["generate", place[0], "--tokenizer", str(folder), "Mara"]
    assert main([*words, "--max-new-tokens", "12", "--policy", "never"]) == 0
    expected = Engine(load_model(folder), None, "never").generate(["Mara"], max_new_tokens=12)[0]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert shown.count(expected.text.strip()) == 1


def test_a_conversation_with_a_hosted_model(place, folder):
    page = io.StringIO()
    config = ChatConfig(place[0], tokenizer=folder, max_new_tokens=8, policy="never")
    with Conversation(config, Console(file=page, width=200, force_terminal=True)) as chat:
        assert chat.process("Mara") and chat.process("/why") and chat.process("/policy threshold=0")
        assert chat.process("Mara") and chat.process("/policy entropy=2")
    expected = Engine(load_model(folder), None, "never").generate(["Mara"], max_new_tokens=8)[0]
    assert chat.answers[0].text == expected.text
    assert "lacy why" in page.getvalue() and "E92" in page.getvalue()


def test_a_server_in_front_of_it_has_its_name(place, folder, capsys):
    config = ServeConfig(f"{place[0]}:threshold=0", tokenizer=folder, timeout=7.0)
    engine, name = _open(config)
    assert engine.hosted is not None and name == "slm"
    assert str(engine.policy) == "threshold=0" and engine.timeout == 7.0
    address = place[0].partition("#")[0]
    assert main(["serve", address, "--tokenizer", str(folder), "--port", "0"]) == 2
    assert "--name mine" in capsys.readouterr().err


def test_lacy_serve_answers_in_front_of_it(place, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "lacy", "serve", place[0], "--tokenizer", str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 300
        while True:
            try:
                assert httpx.get(url + "/health").json() == {"status": "ok"}
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.2)
        body = {"model": "slm:threshold=0", "prompt": "Mara", "max_tokens": 8}
        got = httpx.post(url + "/v1/completions", json=body, timeout=120).json()
        expected = Engine(load_model(folder), None, "threshold=0").generate(
            ["Mara"], max_new_tokens=8
        )
        assert got["choices"][0]["text"] == expected[0].continuation
        assert "<title>" in httpx.get(url + "/").text
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode in (0, 130), said
