"""The same federation in one process and as processes of Flower; skipped without its environment.

``make federate`` makes the environment; LACY_FLOWER names the Python of another one.
"""

import json
import os
import subprocess
from ast import literal_eval
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.federation import Steady, state_of
from lacy.errors import LacyError
from lacy.federate import (
    FederateSettings,
    FederationServer,
    InProcess,
    server_app,
    texts_client,
    write_flower_app,
)
from lacy.federate.flower_app import app_settings

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("LACY_FLOWER", ROOT / ".venv-federate" / "bin" / "python"))

needs_flower = pytest.mark.skipif(
    not PYTHON.exists(), reason="there is no environment with Flower (make federate)"
)


def flower(*argv, timeout=900):
    """Run a script with Flower's Python, and return what it prints."""
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "benchmarks")])
    env = {**os.environ, "PYTHONPATH": paths, "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run([PYTHON, *argv], env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Dying(Steady):
    """Fails in round 2, as the killed process of the network does."""

    def train(self, state, round):
        if round == 2:
            raise RuntimeError
        return super().train(state, round)


@needs_flower
@pytest.mark.slow
def test_a_network_with_a_killed_client_and_a_restarted_server_equals_one_process(tmp_path):
    """TLS, registered nodes, a stranger that is not let in."""
    folder = tmp_path / "network"
    flower(ROOT / "tests" / "helpers" / "flower_network.py", folder)
    clients = {"c00": Steady("c00", samples=10), "c01": Dying("c01", samples=11)}
    server = FederationServer(state_of(1000, 9), FederateSettings(rounds=3), model="m")
    while not server.finished:
        server.run_round(InProcess(clients))
    state = load_file(folder / "out" / "server.safetensors")
    for name, tensor in server.state.items():
        torch.testing.assert_close(state[name], tensor, atol=1e-6, rtol=0)
    lines = (folder / "out" / "rounds.jsonl").read_text().splitlines()
    rounds = [json.loads(line) for line in lines]
    assert [done["number"] for done in rounds] == [1, 2, 3]
    assert [done["accepted"] for done in rounds] == [["c00", "c01"], ["c00"], ["c00", "c01"]]
    assert list(rounds[1]["failed"]) == ["c01"]
    assert "c02" not in json.dumps(rounds)


def test_an_app_holds_all_settings(tmp_path):
    import tomllib

    settings = FederateSettings(rounds=5, strategy="krum", malicious=1, lr=1e-4, deadline=60.0)
    write_flower_app(tmp_path / "app", "smollm2", tmp_path / "out", settings, clients=7)
    project = tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text())
    config = project["tool"]["flwr"]["app"]["config"]
    assert app_settings(config) == settings
    assert config["clients"] == 7 and config["calls"] is False
    compile((tmp_path / "app" / "lacy_federation.py").read_text(), "app", "exec")


@needs_flower
def test_a_server_does_not_wait_for_clients_forever():
    code = (
        "import lacy.federate.flower as f\nfrom lacy.errors import LacyError\nf.WAIT = 0.1\n"
        "class Nobody:\n    def get_node_ids(self):\n        return []\n"
        "try:\n    f.FlowerTransport(Nobody()).wait_for(2)\n"
        "except LacyError as error:\n    print(error.code)"
    )
    assert flower("-c", code).split() == ["E338"]


GRID = """
import torch
from flwr.app import Error, Message, RecordDict, ConfigRecord
from flwr.supercore.task_identity import TaskIdentity
from lacy.federate.flower import FlowerTransport

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1

class Grid:
    def get_node_ids(self):
        return [7, 8]
    def push_messages(self, messages):
        self.sent = {f"m{message.metadata.dst_node_id}": message for message in messages}
        query = messages[0].metadata.message_type == "query"
        if too_large and not query:
            return []
        return ["m7", "m8" if query else None]
    def pull_messages(self, keys):
        for key in keys:
            message, name = self.sent[key], {"m7": "berlin", "m8": "oslo"}[key]
            if message.metadata.message_type == "query":
                content = RecordDict({"client": ConfigRecord({"name": name})})
                reply = Message(content, reply_to=message)
            else:  # Flower's server answers for a client that has disappeared
                reply = Message(Error(1, "stopped"), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = 1
            reply.metadata.__dict__["_reply_to_message_id"] = key
            yield reply

for too_large in (False, True):
    transport = FlowerTransport(Grid())
    names = transport.clients()
    replies = transport.train(names, {"w": torch.ones(2)}, 1, 5.0)
    print(sorted((reply.client, reply.failure) for reply in replies))
"""


@needs_flower
def test_clients_that_disappear_or_are_not_reached_have_failed():
    unsent = "Flower could not send it the state"
    wanted = [[("berlin", "Flower: stopped"), ("oslo", unsent)],
              [("berlin", unsent), ("oslo", unsent)]]  # fmt: skip
    assert list(map(literal_eval, flower("-c", GRID).splitlines())) == wanted


def test_a_node_without_texts_says_so():
    with pytest.raises(LacyError, match="E339"):
        texts_client({"client": "berlin", "model": "smollm2"})


@needs_flower
def test_strategies_equal_those_of_flower():
    """Every strategy after three rounds of five clients, against Flower's, in its environment."""
    code = (
        "import json, federate_overhead as f; f.VALUES = 2000\n"
        "found = {name: f.apart(f.ours(5, 3, strategy=name, **how)[2],"
        " f.flowers(5, 3, name, **how)[2]) for name, how in f.STRATEGIES.items()}\n"
        "print(json.dumps(found))"
    )
    found = json.loads(flower("-c", code).splitlines()[-1])
    assert len(found) == 5 and max(found.values()) <= 1e-6, found


def test_without_flower_an_app_says_what_to_install():
    try:
        import flwr  # noqa: F401
    except ImportError:
        with pytest.raises(LacyError, match=r"(?s)E11.*lacy\[federate\]"):
            server_app(print)
    else:
        pytest.skip("Flower is installed here")
