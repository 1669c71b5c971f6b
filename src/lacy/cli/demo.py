"""``lacy demo``: the whole of lacy in two minutes, offline, on two cores, against exact truth.

A made-up world; a plain model and a lacy model of the same size, trained side by side on the same
texts for the same steps; both asked for biographies, alone and with the world's database; scores,
a page to read, and what to try next.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rich.console import Console

    from lacy.cascade import Policy
    from lacy.evaluate import WorldResult
    from lacy.world import World


@dataclass
class DemoConfig:
    """Trains, asks and scores a plain and a lacy model in a made-up world.

    Takes about two minutes on two cores, needs no network and no account. OUT then holds
    report.html (open it in a browser), results.json, the world with its database, the packed
    texts, and both models.
    """

    out: Path = Path("demo")
    """The folder to write; an earlier demo in it is replaced."""
    people: int = 200
    """How many people live in the world; more than a model this small can learn in a minute."""
    steps: int = 450
    """Training steps of each model."""
    ask: int = 100
    """About how many people to ask each model."""
    call_rate: float = 0.15
    """Share of training targets that become <CALL> (the paper's, §4)."""
    budget: float = 0.22
    """Share of generated tokens that the controls ask for, at random and where they are unsure: the
    paper's (§5.1). The lacy model asks where <CALL> is its likeliest token: about as much."""
    seed: int = 0
    """Of the world and of both models."""


FLAGS = DemoConfig
EXAMPLES = """
lacy demo
lacy demo --out /tmp/look --people 60 --steps 300
"""

VOCABULARY, CONTEXT, ROWS = 2048, 256, 6
"""Tokens, tokens per row, rows per step: what learns most of this world per second on two cores."""
TEXT_WEIGHT = 0.5
"""Weight of the true word where the target is <CALL>. With the paper's 0 the model forgets what
kind of value belongs there, and cannot choose between the facts that a database offers."""
TRAINING: dict[str, Any] = {
    "model": "demo", "batch_rows": ROWS, "optimizer": "muon", "lr": 6e-3, "decay": 0.3,
    "decay_shape": "linear", "dtype": "fp32", "device": "cpu", "threads": 1, "save_minutes": 0.0,
    "quiet": True,
}  # fmt: skip
"""Both models alike; fp32 and one thread, so that all machines train nearly the same models."""
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"method": "none"},
    "lacy": {"method": "lacy", "call_negative": "softmax", "text_weight": TEXT_WEIGHT},
}
CALIBRATION = 100
"""Training texts that each model reads once more, before it is asked."""
KEPT = ("world", "data", "plain", "lacy", "results.json", "report.html")


def run(config: DemoConfig) -> int:
    """Run the demo."""
    begin = time.perf_counter()
    from rich.console import Console

    console = Console()
    with _prepared(config.out) as out:
        _run(config, out, console, begin)
    return 0


def _run(config: DemoConfig, out: Path, console: Console, begin: float) -> None:
    """Makes the world, models, scores and report in a folder that this process has locked."""
    with _step(console, "Make a world of people whose every fact is known"):
        world = _make_world(config, out)
    title = (
        "Train a plain and a lacy model side by side, one core each, and ask both about "
        f"{config.ask} people"
    )
    with _step(console, title):
        results = _train_and_ask(config, out, console)
    from lacy.report import demo_figures, show_demo, write_demo

    found = demo_figures(results, config.budget)
    found["seconds"] = round(time.perf_counter() - begin, 1)
    stranger = world.prompts("unseen", 1)[0]
    write_demo(out, found, results, asdict(config), stranger)
    show_demo(console, out, found["seconds"], results, stranger)


@contextmanager
def _prepared(out: Path) -> Iterator[Path]:
    """Locks the folder and removes an earlier demo; refuses a folder with other contents."""
    from lacy.disk import OWNER_FILE, can_replace, lock

    if out.exists() and not can_replace(out):
        raise LacyError("E16", path=out)
    with lock(out):
        for name in KEPT:
            old = out / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        (out / OWNER_FILE).write_text("Written by lacy; replaced as a whole.\n", encoding="utf-8")
        yield out


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    begin = time.perf_counter()
    console.print(f"[bold]{what}[/bold]")
    yield
    console.print(f"  [dim]{time.perf_counter() - begin:.1f} s[/dim]")


def _make_world(config: DemoConfig, out: Path) -> World:
    """World, tokenizer and packed training and validation texts."""
    from lacy.annotate import encode
    from lacy.corpus import PackedData, train_tokenizer
    from lacy.world import make_world

    world = make_world(config.people, config.seed)
    world.save(out / "world")
    known = len(world.people("train"))
    # As many different texts as the steps can read, two to a row: wording is never seen twice.
    per_person = 1 + config.steps * ROWS * 2 // known
    texts = list(world.documents("train", per_person=per_person))
    tokenizer = train_tokenizer((d.text for d in texts[:3000]), VOCABULARY, split_digits=False)
    encoded = (encode(document, tokenizer) for document in texts)
    PackedData.write(encoded, tokenizer, CONTEXT, out / "data")
    return world


def _train_and_ask(config: DemoConfig, out: Path, console: Console) -> dict[str, WorldResult]:
    """Two processes with one thread each: for models this small faster than one with two."""
    from lacy.study import workers

    with workers(len(MODELS)) as pool:
        work = {name: pool.submit(_one_model, name, config, out) for name in MODELS}
        _watch(work, out, config.steps, console)
        return {name: future.result() for name, future in work.items()}


def _one_model(name: str, config: DemoConfig, out: Path) -> WorldResult:
    """Trains one of the models and asks it under every policy (in a process of its own)."""
    from lacy.cascade import calibrate
    from lacy.evaluate import evaluate_world
    from lacy.model import load_model
    from lacy.sources.db import Database
    from lacy.train import TrainConfig, train
    from lacy.world import load_world

    shared: dict[str, Any] = {**TRAINING, "data": out / "data", "out": out / name}
    train(
        TrainConfig(
            **shared,
            **MODELS[name],
            call_rate=config.call_rate,
            steps=config.steps,
            seed=config.seed,
        )
    )
    world, loaded = load_world(out / "world"), load_model(out / name)
    read_again = itertools.islice(world.documents("train"), CALIBRATION)
    with Database(out / "world" / "truth.sqlite", name="database") as source:
        return evaluate_world(
            loaded,
            world,
            source,
            _policies(name, config),
            people=config.ask,
            call_rate=config.budget,
            seed=config.seed,
            calibration=calibrate(loaded, read_again),
        )


def _policies(name: str, config: DemoConfig) -> dict[str, Policy | str]:
    from lacy.cascade import Budget, Never, Random, Threshold

    conditions: dict[str, Policy | str] = {
        "alone": Never(),
        "random": Random(config.budget, seed=config.seed),
    }
    if name == "plain":
        conditions["entropy"] = Budget(config.budget, by="entropy")
    else:
        conditions["database"] = Threshold(0.0)
    return conditions


def _watch(work: dict[str, Future[WorldResult]], out: Path, steps: int, console: Console) -> None:
    """Shows both models until they are done; returns early when one fails."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description:<6}"), BarColumn(), TextColumn("{task.fields[note]:<24}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = {name: progress.add_task(name, total=steps, note="starting") for name in work}
        while not all(future.done() for future in work.values()):
            if any(future.done() and future.exception() for future in work.values()):
                return
            for name, bar in bars.items():
                last = _last_metrics(out / name)
                step = last.get("step", 0)
                note = f"loss {last['loss']:.2f}" if "loss" in last else "starting"
                note = "answering questions" if step >= steps else note
                note = "done" if work[name].done() else note
                progress.update(bar, completed=step, note=note)
            time.sleep(0.25)


def _last_metrics(folder: Path) -> dict[str, Any]:
    """The newest whole line of a run's metrics."""
    file = folder / "metrics.jsonl"
    if not file.exists():
        return {}
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 4096))
        lines = stream.read().split(b"\n")[:-1]
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}
