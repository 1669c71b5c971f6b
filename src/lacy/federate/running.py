"""Run a whole federation in this process: pack the clients' texts, run the rounds, save a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lacy.annotate import encode_many
from lacy.corpus import PackedData
from lacy.disk import lock, write_atomic
from lacy.distill import calls_objective
from lacy.errors import LacyError
from lacy.federate.fit_client import FitClient
from lacy.federate.held_out import HeldOut
from lacy.federate.payload import Payload
from lacy.federate.protocol import Client, State
from lacy.federate.rounds import Federation, Round
from lacy.federate.server import FederationServer
from lacy.federate.settings import FederateSettings
from lacy.federate.transport import InProcess
from lacy.model import Loaded, load_model, set_gate
from lacy.objective import Objective
from lacy.run import Run, require_same_run
from lacy.types import Document, MarkFlag

Notify = Callable[[str], object]

STATE_FILE, RECORD_FILE = "server.safetensors", "federation.json"
"""Names of the files in the folder of a federation."""

MAY_DIFFER = ("settings.rounds", "settings.quorum", "settings.deadline", "settings.budget")
"""Settings that may change when a federation continues."""


def federate(
    model: str | Path | Loaded,
    texts: Mapping[str, Iterable[Document]],
    out: str | Path,
    settings: FederateSettings | None = None,
    *,
    held_out: Iterable[Document] = (),
    context: int = 256,
    notify: Notify = lambda sentence: None,
    on_reply: Notify = lambda client: None,
    on_round: Callable[[Round], object] = lambda done: None,
) -> Federation:
    """Train one model on the texts of several clients, and write it to ``out/model``.

    The same call continues a federation that was stopped after the last complete round.

    Args:
        model: the model to start from, or its name; an open one must not be used afterwards.
        texts: the texts of each client by its name; marks say where facts are.
        out: folder of the results.
        settings: how the federation trains and aggregates.
        held_out: texts of the server, on which the loss is measured after each round.
        context: tokens per row.
        notify: called with sentences for the user.
        on_reply: called with the name of each client that has replied.
        on_round: called with each round that is done.

    Raises:
        LacyError: E12, a setting is invalid; E17 or E334, ``out`` is another federation; E333, its
            state is damaged; E336, no client has usable texts; E337, no round changed the model;
            and the errors of ``load_model``.
    """
    settings = settings or FederateSettings()
    settings.check()
    out = Path(out)
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    with lock(out):
        name = loaded.name or "model"
        stored: dict[str, Any] = {"model": name, "context": context, "settings": asdict(settings)}
        require_same_run(out, stored, may_differ=(*MAY_DIFFER, "texts"))
        context = min(context, loaded.context)
        packed, stored["texts"] = _packed(texts, loaded, context, out, notify)
        require_same_run(out, stored, may_differ=MAY_DIFFER)
        objective, sentence = _objective(loaded, packed)
        notify(sentence)
        if settings.depth == "row" and objective.method == "none":
            why = "it trains <CALL> alone, for which the model must call and all texts have marks"
            raise LacyError("E12", key="depth", value="row", why=why,
                            do="mark the texts (lacy data mark), or leave out --depth")  # fmt: skip
        parameters = sum(p.numel() for p in loaded.model.parameters())
        loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        payload = Payload(loaded, settings)
        clients = {
            client: FitClient(client, payload, data, objective) for client, data in packed.items()
        }
        run = Run(out, stored, may_differ=MAY_DIFFER)
        run.write_environment()
        record = Federation(
            model=name, settings=asdict(settings), rounds=[], folder=str(out / "model"),
            clients={client: {"texts": data.info.documents, "rows": len(data)}
                     for client, data in packed.items()},
            trained=sum(p.numel() for p in payload.parameters.values()), parameters=parameters,
        )  # fmt: skip
        return run_federation(
            payload, clients, record, run, settings,
            measure=HeldOut.of(payload, held_out, context, out / "held-out"),
            notify=notify, on_reply=on_reply, on_round=on_round,
        )  # fmt: skip


def run_federation(
    payload: Payload,
    clients: Mapping[str, Client],
    record: Federation,
    run: Run,
    settings: FederateSettings,
    *,
    measure: Callable[[State], Mapping[str, float]] = lambda state: {},
    notify: Notify = lambda sentence: None,
    on_reply: Notify = lambda client: None,
    on_round: Callable[[Round], object] = lambda done: None,
) -> Federation:
    """Run the rounds that are left with clients in this process, and write the model.

    Args:
        payload: the model with its trained part.
        clients: the clients by name.
        record: the federation without its rounds.
        run: the folder of the results.
        settings: how the federation trains and aggregates.
        measure: returns figures of a state, for the table of rounds.
        notify: called with sentences for the user.
        on_reply: called with the name of each client that has replied.
        on_round: called with each round that is done.

    Raises:
        LacyError: E12, too few clients train in a round; E333, the stored state is damaged; E334,
            it belongs to another federation; E337, no round changed the model.
    """
    server = FederationServer(
        payload.state(), settings, model=payload.fingerprint, file=run.folder / STATE_FILE,
        measure=measure,
    )  # fmt: skip
    server.require_enough(len(clients))
    if server.rounds:
        notify(f"Continuing after round {len(server.rounds)}.")
    transport = InProcess(clients, settings.codec, on_reply)
    while not server.finished:
        done = server.run_round(transport)
        run.log(**done.to_json())
        on_round(done)
    return finish(payload, server, record, run.folder)


def finish(payload: Payload, server: FederationServer, record: Federation, out: Path) -> Federation:
    """Write the model and the record of a federation that has ended.

    Raises:
        LacyError: E337, no round changed the model.
    """
    rounds = list(server.rounds)
    done = Federation(**{
        **vars(record), "rounds": rounds, "finished": len(rounds) >= server.settings.rounds,
    })  # fmt: skip
    write_atomic(out / RECORD_FILE, json.dumps(done.to_json(), indent=2) + "\n")
    if not any(each.changed for each in rounds):
        last = rounds[-1] if rounds else None
        why = "the privacy budget allows no round"
        if last is not None:
            reasons = {**last.refused, **last.failed}
            few = f"{len(last.accepted)} updates were accepted, {server.least} are needed"
            overflow = "the mean of the updates is too large for a number of 32 bits"
            why = few if len(last.accepted) < server.least else overflow
            why = next((f"{client}: {said}" for client, said in reasons.items()), why)
        raise LacyError("E337", rounds=len(rounds), why=why)
    meta = {"federation": {"rounds": len(rounds), "clients": len(record.clients),
                           "settings": record.settings}}  # fmt: skip
    payload.write(out / "model", server.state, meta)
    return done


def _packed(
    texts: Mapping[str, Iterable[Document]],
    loaded: Loaded,
    context: int,
    out: Path,
    notify: Notify,
) -> tuple[dict[str, PackedData], str]:
    """Pack the texts of each client into a folder of its own.

    Returns:
        The packed texts by client, and a hash of all texts and of who has them.

    Raises:
        LacyError: E336, no client has usable texts.
    """
    found, digest = {}, hashlib.sha256()

    def hashed(documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            digest.update(repr((document.text, document.marks)).encode("utf-8", "surrogatepass"))
            yield document

    for number, (client, documents) in enumerate(texts.items(), 1):
        folder = out / "clients" / f"{number:03}"
        try:
            digest.update(f"\0{client}\0".encode("utf-8", "surrogatepass"))
            encoded = encode_many(hashed(documents), loaded.tokenizer)
            found[client] = PackedData.write(encoded, loaded.tokenizer, context, folder)
        except LacyError as error:
            if error.code not in ("E21", "E29"):
                raise
            notify(f"Client {client} has no usable texts and takes no part.")
    if not found:
        raise LacyError("E336", clients=len(texts))
    return found, digest.hexdigest()[:16]


def _objective(loaded: Loaded, packed: Mapping[str, PackedData]) -> tuple[Objective, str]:
    """Return the objective of all clients, and a sentence about it."""
    fact = str(MarkFlag.FACT.name)
    if not loaded.calls:
        return Objective(method="none", call_negative="none"), "The model does not call sources."
    if not all(data.info.flags.get(fact) for data in packed.values()):
        why = "Calls are not trained, because not all clients have marked texts (lacy data mark)"
        return Objective(method="none", call_negative="none"), f"{why}; fit them again: lacy tune."
    objective, sentence = calls_objective(loaded)
    set_gate(loaded.model, objective.call_negative)
    return objective, sentence
