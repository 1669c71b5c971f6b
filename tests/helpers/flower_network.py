"""A real Flower network on loopback: SuperLink and SuperNodes as processes, TLS, authentication.

ENV/bin/python tests/helpers/flower_network.py FOLDER [DEADLINE]

In round 2, the process of client c01 kills itself, and after that round so does the server; the app
is then started again. The results are FOLDER/result.json and the server's state. Certificates and
keys are made on the spot.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CLIENTS, ROUNDS, PATIENCE = 2, 3, 500.0

APP = """
import json, os, signal
from pathlib import Path
from helpers.federation import Steady, state_of
from lacy.federate import FederateSettings, FederationServer, client_app, server_app

class Dying(Steady):
    def train(self, state, round):
        if self.name == "c01" and round == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(state, round)

def run(transport, config):
    settings = FederateSettings(rounds=config["rounds"], deadline=float(config["deadline"]))
    file = Path(config["out"]) / "server.safetensors"
    server = FederationServer(state_of(1000, 9), settings, model="m", file=file)
    while not server.finished:
        done = server.run_round(transport)
        with open(Path(config["out"]) / "rounds.jsonl", "a") as out:
            out.write(json.dumps(done.to_json()) + "\\n")
        if done.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

server = server_app(run)
client = client_app(lambda config: Dying(str(config["client"]), samples=int(config["samples"])))
"""

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "network"
version = "1.0.0"
description = "A test."
license = "Apache-2.0"
dependencies = []
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "lacy"
[tool.flwr.app.components]
serverapp = "network:server"
clientapp = "network:client"
[tool.flwr.app.config]
rounds = {rounds}
clients = {clients}
deadline = {deadline}
out = "{out}"
"""


def certificates(folder):
    """Write a self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "server.pem").write_bytes(made.public_bytes(pem))
    (folder / "server.key").write_bytes(private(key, serialization))


def private(key, serialization, kind="PKCS8"):
    form = getattr(serialization.PrivateFormat, kind)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def node_key(folder, name):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    (folder / name).write_bytes(private(key, serialization, "OpenSSH"))
    ssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(*ssh))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Network:
    """The processes, and how to wait for what they write."""

    def __init__(self, folder):
        self.folder, self.bin = folder, Path(sys.executable).parent
        self.running, self.port = [], free_port()
        self.env = {
            **os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(folder / "home"),
            "PATH": f"{self.bin}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }  # fmt: skip

    def start(self, name, *command):
        with open(self.folder / f"{name}.log", "wb") as log:
            self.running.append(subprocess.Popen(
                [self.bin / command[0], *map(str, command[1:])], env=self.env, cwd=self.folder,
                stdout=log, stderr=log, start_new_session=True,
            ))  # fmt: skip

    def until(self, true, what):
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
            time.sleep(0.2)

    def logged(self, name, words):
        self.until(lambda: words in (self.folder / f"{name}.log").read_text(), f"{words} in {name}")

    def flwr(self, *command):
        done = subprocess.run([self.bin / "flwr", *map(str, command)], env=self.env,
                              cwd=self.folder, capture_output=True, text=True)  # fmt: skip
        with open(self.folder / "flwr.log", "a") as log:
            log.write(f"{command}\n{done.stdout}{done.stderr}")
        if done.returncode:
            raise RuntimeError(f"flwr {command}: {done.stdout[-600:]}{done.stderr[-600:]}")

    def rounds(self):
        file = self.folder / "out" / "rounds.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def stop(self):
        """End the processes that were started here, with their children."""
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)


def main(folder, deadline=60.0):
    for name in ("home", "app", "out"):
        (folder / name).mkdir(parents=True)
    certificates(folder)
    (folder / "app" / "network.py").write_text(APP)
    values = {"rounds": ROUNDS, "clients": CLIENTS, "deadline": deadline, "out": folder / "out"}
    (folder / "app" / "pyproject.toml").write_text(PROJECT.format(**values))
    net, begin = Network(folder), time.monotonic()
    (folder / "home" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{net.port}"\n'
        f'root-certificates = "{folder / "server.pem"}"\n'
    )
    try:
        net.start(
            "link", "flower-superlink", "--host", "127.0.0.1", "--port", net.port,
            "--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key",
            "--ssl-ca-certfile", "server.pem", "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        )  # fmt: skip
        net.logged("link", "Uvicorn running")
        for number in range(CLIENTS + 1):
            node_key(folder, f"c{number:02}")
            if number < CLIENTS:  # the last one is not registered
                net.flwr("supernode", "register", f"c{number:02}.pub", "here")
            net.start(
                f"c{number:02}", "flower-supernode", "--superlink", f"127.0.0.1:{net.port}",
                "--root-certificates", "server.pem", "--port", free_port(),
                "--auth-supernode-private-key", f"c{number:02}", "--max-retries", 3,
                "--node-config", f'client="c{number:02}" samples={10 + number}',
            )  # fmt: skip
        net.flwr("run", "app", "here")
        net.until(lambda: len(net.rounds()) >= 2, "round 2")
        net.flwr("run", "app", "here")
        net.until(lambda: len(net.rounds()) >= ROUNDS, "round 3")
        stranger = (folder / f"c{CLIENTS:02}.log").read_text()
        result = {"seconds": time.monotonic() - begin, "stranger": stranger[-2000:]}
        (folder / "result.json").write_text(json.dumps(result))
    finally:
        net.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes are ended
    main(Path(sys.argv[1]).resolve(), *map(float, sys.argv[2:]))
