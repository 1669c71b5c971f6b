"""Align one model on the samples of several clients, which sanitise them first (FedDetox).

Each client flags harmful samples with a classifier on its own device, replaces or drops them, and
trains adapters with DPO on preference pairs or on the replies to imitate (arXiv 2604.06833). The
rounds are those of every federation (``run_federation``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from lacy.disk import lock
from lacy.errors import LacyError
from lacy.federate.payload import Payload
from lacy.federate.rounds import Federation, Round
from lacy.federate.running import MAY_DIFFER, Notify, run_federation
from lacy.federate.settings import FederateSettings
from lacy.federate.split import Skew, split_documents
from lacy.model import Loaded, load_model
from lacy.run import Run, require_same_run
from lacy.safety import AlignClient, AlignSettings, Guard, SafetyClassifier, Sample, SanitiseMode
from lacy.types import Document


def align(
    model: str | Path | Loaded,
    samples: Mapping[str, Sequence[Sample]],
    out: str | Path,
    settings: FederateSettings | None = None,
    how: AlignSettings | None = None,
    *,
    guard: Guard | None = None,
    guard_name: str = "",
    mode: SanitiseMode = "replace",
    thresholds: tuple[float | None, float | None] = (None, None),
    notify: Notify = lambda sentence: None,
    on_reply: Notify = lambda client: None,
    on_round: Callable[[Round], object] = lambda done: None,
) -> Federation:
    """Align a model on the samples of each client, and write it to ``out/model``.

    The same call continues a federation that was stopped after the last complete round.

    Args:
        model: the model to start from, or its name; an open one must not be used afterwards.
        samples: the samples of each client by its name, all of one kind.
        out: folder of the results; counts of samples are written, never texts.
        settings: how the federation aggregates. Of what it says about training, ``depth`` (lora),
            ``lora_rank`` and ``lr`` (if given) hold; the rest is in ``how``.
        how: how a client trains.
        guard: the classifier of harmful prompts and replies; None to use all samples as they are.
        guard_name: name of the guard for the record.
        mode: what happens to flagged samples.
        thresholds: probabilities from which a prompt and a reply are flagged; None for the guard's.
        notify: called with sentences for the user.
        on_reply: called with the name of each client that has replied.
        on_round: called with each round that is done.

    Raises:
        LacyError: E12, a setting is invalid; E336, no client has samples; E352, a reply is empty;
            E353, a client has samples of two kinds; and the errors of ``federate``.
    """
    settings, how = settings or FederateSettings(), how or AlignSettings()
    settings.check()
    _require_adapters(settings)
    if settings.lr is not None:
        how = replace(how, lr=settings.lr)
    how.check()
    out = Path(out)
    samples = {name: list(own) for name, own in samples.items()}
    if not any(samples.values()):
        raise LacyError("E336", clients=len(samples))
    _require_one_kind(samples)
    loaded = model if isinstance(model, Loaded) else load_model(model, verify=False)
    with lock(out):
        name = loaded.name or "model"
        stored = {
            "model": name, "samples": _digest(samples), "settings": asdict(settings),
            "align": asdict(how), "guard": _named(guard, guard_name), "mode": mode,
            "thresholds": list(thresholds),
        }  # fmt: skip
        require_same_run(out, stored, may_differ=MAY_DIFFER)
        parameters = sum(p.numel() for p in loaded.model.parameters())
        loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        payload = Payload(loaded, settings)
        clients = {}
        for client, own in samples.items():
            if not own:
                notify(f"Client {client} has no samples and takes no part.")
                continue
            clients[client] = AlignClient(
                client, payload.loaded.model, loaded.tokenizer, own, how, guard=guard,  # type: ignore[arg-type]
                mode=mode, thresholds=thresholds, fingerprint=payload.fingerprint,
            )  # fmt: skip
        run = Run(out, stored, may_differ=MAY_DIFFER)
        run.write_environment()
        record = Federation(
            model=name, rounds=[], folder=str(out / "model"),
            settings={**asdict(settings), "align": asdict(how), "guard": guard_name, "mode": mode},
            clients={client: dict(one.counts) for client, one in clients.items()},
            trained=sum(p.numel() for p in payload.parameters.values()), parameters=parameters,
        )  # fmt: skip
        return run_federation(
            payload, clients, record, run, settings,
            notify=notify, on_reply=on_reply, on_round=on_round,
        )  # fmt: skip


def _named(guard: Guard | None, name: str) -> str:
    """Return a guard's name, and the fingerprint of a classifier: it may be trained again."""
    if isinstance(guard, SafetyClassifier):
        return f"{name} {guard.fingerprint()}"
    return "" if guard is None else name


def split_samples(
    samples: Sequence[Sample],
    clients: int,
    *,
    skew: Skew = "none",
    field: str = "topic",
    alpha: float = 0.5,
    seed: int = 0,
) -> dict[str, list[Sample]]:
    """Split samples among clients, at random or by their topic, as ``split_documents`` does.

    Args:
        samples: the samples.
        clients: number of clients.
        skew: how they are split.
        field: name of the topic's field in their file, for messages.
        alpha: concentration of the Dirichlet distribution.
        seed: seed of the split.

    Raises:
        LacyError: E332, a sample has no topic; and the other errors of ``split_documents``.
    """
    bare = next((one for one in samples if not one.topic), None)
    if skew != "none" and bare is not None:
        raise LacyError("E332", document=f"sample {bare.id}", field=field, known="")
    numbered = [
        Document(str(number), "", {"topic": one.topic} if one.topic else {})
        for number, one in enumerate(samples)
    ]
    parts = split_documents(numbered, clients, skew=skew, alpha=alpha, seed=seed)
    return {name: [samples[int(one.id)] for one in own] for name, own in parts.items()}


def _require_one_kind(samples: Mapping[str, Sequence[Sample]]) -> None:
    """Raise E353 if some clients have pairs and others single replies: their losses differ."""
    kinds = {client: type(own[0]) for client, own in samples.items() if own}
    first = next(iter(kinds))
    for client, kind in kinds.items():
        if kind is not kinds[first]:
            why = f"it has samples of another kind than client {first}"
            do = "give all clients preference pairs, or all of them replies to imitate"
            raise LacyError("E353", client=client, why=why, do=do)


def _require_adapters(settings: FederateSettings) -> None:
    """Raise E12 for settings that alignment does not have."""
    if settings.depth != "lora":
        why, do = "alignment trains adapters", "leave out --depth"
        raise LacyError("E12", key="depth", value=settings.depth, why=why, do=do)
    for key, default in (("local_steps", None), ("proximal", 0.0)):
        if getattr(settings, key) != default:
            flag = key.replace("_", "-")
            why = "alignment passes --epochs times over a client's samples, without this setting"
            raise LacyError("E12", key=key, value=getattr(settings, key), why=why,
                            do=f"leave out --{flag}")  # fmt: skip


def _digest(samples: Mapping[str, Sequence[Sample]]) -> str:
    """Return a hash of all samples, which tells whether a federation continues with the same."""
    digest = hashlib.sha256()
    for name, own in samples.items():
        digest.update(f"{name}\0{len(own)}\0".encode())
        for one in own:
            digest.update(repr(asdict(one)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
