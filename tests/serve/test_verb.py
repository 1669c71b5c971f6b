"""``lacy serve`` as a process: it answers, and ends on signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from helpers import models
from helpers.processes import ended, running
from helpers.serving import serve_slowly
from lacy.cli import main
from lacy.cli.serve import ServeConfig, _print_address, hosts_of

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path):
    """A saved model (weights are random)."""
    from lacy.model import save_model

    loaded = models.llama(models.ALL["byte_level"])
    save_model(tmp_path / "mine", loaded.model, loaded.tokenizer)
    return tmp_path / "mine"


def test_it_serves_and_stops(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(model), "--port", str(port)]) == 2
    command = [sys.executable, "-m", "lacy", "serve", str(model), "--port", str(port)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 300
        while True:
            try:
                assert httpx.get(url + "/health").json() == {"status": "ok"}
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.2)
        body = {"model": "mine:never", "prompt": "Geheim", "max_tokens": 3}
        got = httpx.post(url + "/v1/completions", json=body, timeout=120).json()
        assert got["choices"][0]["lacy"]["policy"] == "never"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said, said
    lines = said.splitlines()
    assert any(f"mine (never) at {url}/v1" in line for line in lines)
    note = next(json.loads(line[line.index("{") :]) for line in lines if '"/v1/comp' in line)
    assert note["tokens"] == got["usage"]["completion_tokens"] and "Geheim" not in said


@pytest.mark.parametrize(("number", "twice"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_first_signal_lets_texts_end_and_a_second_one_does_not(number, twice, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = tmp_path / "said.txt"
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    with running(serve_slowly, port, 3600 if twice else 1, stderr=said) as process:
        while True:
            try:
                httpx.get(url + "/health")
                break
            except httpx.TransportError:
                assert process.is_alive() and time.monotonic() < end
                time.sleep(0.1)
        body = {"model": "slm", "prompt": "a", "stream": True, "max_tokens": 50_000}
        with httpx.stream("POST", url + "/v1/completions", json=body, timeout=120) as stream:
            lines = stream.iter_lines()
            next(lines)
            os.kill(process.pid, number)
            with pytest.raises(httpx.TransportError):  # the door is closed, and stays so
                while time.monotonic() < end:
                    httpx.get(url + "/health")
            if twice:
                os.kill(process.pid, number)
                with pytest.raises(httpx.TransportError):
                    list(lines)
            else:
                rest = [line[6:] for line in lines if line]
                assert json.loads(rest[-2])["choices"][0]["finish_reason"] == "length"
                assert rest[-1] == "[DONE]"
        assert ended(process, 120) == 130
    assert "Traceback" not in said.read_text()


def test_new_keys_are_shown_once(tmp_path, capsys):
    path = tmp_path / "keys.json"
    for name in ("ada", "bea"):
        assert main(["serve", "x", "--keys", str(path), "--new-key", name]) == 0
    shown = capsys.readouterr().out.split()
    stored = json.loads(path.read_text())["keys"]
    assert [key["name"] for key in stored] == ["ada", "bea"] and len(set(shown)) == 2
    assert not any(key in path.read_text() for key in shown)
    assert main(["serve", "x", "--new-key", "ada"]) == 2


def test_mistakes_and_warnings(model, capsys):
    assert main(["serve", str(model), "--name", "a:b", "--port", "0"]) == 2
    assert main(["serve", str(model), "--keys", "missing.json"]) == 2
    assert "--new-key" in capsys.readouterr().err
    _print_address(ServeConfig("x", host="0.0.0.0"), "mine", "never", 8000, None)
    assert "anybody, without a key" in capsys.readouterr().err
    _print_address(ServeConfig("x"), "mine", "never", 8000, None)
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--streams 0", "--streams 32"), ("--queue -1", "-1 for setting 'queue'"),
        ("--port 99999", "65,535"),
        ("--timeout nan", "--timeout 30"), ("--grace inf", "86,400"), ("--temperature -1", "0"),
        ("--max-new-tokens 0", "at least 1"), ("--per-minute 60", "--new-key"),
        ("--keys k.json --new-key ada --per-minute 0", "--per-minute 60"),
        ("--connections 0", "--connections 60"), ("--connections 2000000000", "ulimit -n"),
        ("--host no.where.invalid --port 0", "--host 127.0.0.1"), ("--host 192.0.2.1", "'host'"),
        ("--origin chat.example", "--origin https://chat.example"),
        ("--origin https://chat.example/page", "'origin'"),
        ("--allow-host https://lacy.example", "--allow-host lacy.example"),
        ("--allow-host lacy.example:80", "'allow_host'"),
    ],
)  # fmt: skip
def test_wrong_flags_are_found_before_loading(tmp_path, monkeypatch, capsys, flags, told):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "no-such-model", *flags.split()]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "[E12]" in said and told in said and list(tmp_path.iterdir()) == []


def test_allowed_host_names():
    def hosts(**how):
        config = ServeConfig("x", **how)
        return hosts_of(config.host, config.allow_host, keys=config.keys is not None)

    own = ["127.0.0.1", "::1", "localhost"]
    assert list(hosts()) == own and hosts(host="0.0.0.0") is None
    assert hosts(allow_host=["Lacy.example", "[fd00::1]"]) == [*own, "lacy.example", "fd00::1"]
    assert hosts(host="0.0.0.0", allow_host=["lacy.example"]) == [*own, "lacy.example"]
    assert hosts(allow_host=["a", "*"]) is None
