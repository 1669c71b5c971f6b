"""What a Flower app of lacy consists of: its server, its clients, and the folder that Flower runs.

The settings of the app (``pyproject.toml``) are those of ``FederateSettings``, and: ``model`` (the
same model on all machines), ``out`` (folder of the results, on the server), ``clients`` (how many
to wait for), ``context`` and ``calls`` (whether <CALL> is trained, for which all clients need
marked texts). Each node's settings (``--node-config``) name its ``client`` and its ``texts``, and
may name a ``model`` if it lies elsewhere on that machine.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacy.annotate import encode_many
from lacy.corpus import PackedData, read
from lacy.disk import lock, replace_folder
from lacy.distill import calls_objective
from lacy.errors import LacyError
from lacy.federate.fit_client import FitClient
from lacy.federate.payload import Payload
from lacy.federate.protocol import Client
from lacy.federate.rounds import Federation
from lacy.federate.running import STATE_FILE, finish
from lacy.federate.server import FederationServer
from lacy.federate.settings import FederateSettings
from lacy.federate.transport import Transport
from lacy.model import load_model, set_gate
from lacy.objective import Objective

MODULE = "lacy_federation"
"""Name of the module in an app's folder."""

_MODULE_TEXT = '''"""The server and the clients of a federation of lacy."""

from lacy.federate import client_app, texts_client, texts_server, server_app

server = server_app(texts_server)
client = client_app(texts_client)
'''

_PROJECT_TEXT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lacy-federation"
version = "1.0.0"
description = "A federation of lacy."
license = "Apache-2.0"
dependencies = ["flwr==1.42.0"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "lacy"

[tool.flwr.app.components]
serverapp = "{module}:server"
clientapp = "{module}:client"

[tool.flwr.app.config]
{config}
"""


def write_flower_app(
    folder: str | Path,
    model: str,
    out: str | Path,
    settings: FederateSettings | None = None,
    *,
    clients: int = 2,
    context: int = 256,
    calls: bool = False,
) -> Path:
    """Write the folder of an app, which ``flwr run FOLDER`` starts.

    Args:
        folder: the folder to write.
        model: the model to start from, by a name that is valid on the server.
        out: folder of the results, on the server.
        settings: how the federation trains and aggregates.
        clients: how many clients to wait for before the first round.
        context: tokens per row.
        calls: train <CALL>, too.

    Raises:
        LacyError: E12, a setting is invalid; E16, the folder has other content.
    """
    settings = settings or FederateSettings()
    settings.check()
    own = {
        "model": model, "out": str(Path(out).resolve()), "clients": clients, "context": context,
        "calls": calls,
    }  # fmt: skip
    given = {**own, **dataclasses.asdict(settings)}
    # JSON's strings, numbers and booleans are also TOML's; TOML has no null.
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items() if value is not None]
    with replace_folder(folder) as fresh:
        (fresh / f"{MODULE}.py").write_text(_MODULE_TEXT, encoding="utf-8")
        text = _PROJECT_TEXT.format(module=MODULE, config="\n".join(lines))
        (fresh / "pyproject.toml").write_text(text, encoding="utf-8")
    return Path(folder)


def app_settings(config: Mapping[str, Any]) -> FederateSettings:
    """Return the settings of an app; those that it does not name have their defaults."""
    names = {entry.name for entry in dataclasses.fields(FederateSettings)}
    return FederateSettings(**{name: config[name] for name in names & config.keys()})


def texts_server(transport: Transport, config: Mapping[str, Any]) -> Federation:
    """Run the rounds of an app, and write the model and the record into ``out``.

    An app that is started again goes on after the last complete round.

    Raises:
        LacyError: the errors of ``federate``.
    """
    settings, out = app_settings(config), Path(config["out"])
    loaded = load_model(config["model"], verify=False)
    if config.get("calls"):
        set_gate(loaded.model, calls_objective(loaded)[0].call_negative)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    payload = Payload(loaded, settings)
    with lock(out):
        server = FederationServer(
            payload.state(), settings, model=payload.fingerprint, file=out / STATE_FILE
        )
        while not server.finished:
            done = server.run_round(transport)
            print(f"Round {done.number}: {json.dumps(done.to_json())}", flush=True)
        names = sorted({name for each in server.rounds for name in each.accepted})
        record = Federation(
            model=str(config["model"]), settings=dataclasses.asdict(settings), rounds=[],
            clients={name: {} for name in names}, folder=str(out / "model"),
            trained=sum(p.numel() for p in payload.parameters.values()), parameters=parameters,
        )  # fmt: skip
        return finish(payload, server, record, out)


def texts_client(config: Mapping[str, Any]) -> Client:
    """Return the client of a node: the model, and the node's texts.

    Raises:
        LacyError: E339, the node's settings name no texts; and the errors of ``load_model`` and
            ``read``.
    """
    settings, name = app_settings(config), str(config.get("client", ""))
    if not config.get("texts"):
        raise LacyError("E339", client=name)
    loaded = load_model(config["model"], verify=False)
    objective = Objective(method="none", call_negative="none")
    if config.get("calls"):
        objective, _ = calls_objective(loaded)
        set_gate(loaded.model, objective.call_negative)
    with tempfile.TemporaryDirectory(prefix="lacy-client-") as folder:
        # The rows are mapped into memory, so the files may go once they are open.
        encoded = encode_many(read(config["texts"]), loaded.tokenizer)
        context = min(int(config.get("context", 256)), loaded.context)
        data = PackedData.write(encoded, loaded.tokenizer, context, Path(folder) / "packed")
    return FitClient(name, Payload(loaded, settings), data, objective)
