"""``lacy demo``: all of lacy in two minutes, offline, on two cores, scored against exact truth.

It makes a world and trains a plain and a lacy model of the same size on the same texts for the same
number of steps. Then both generate biographies, alone and with the world's database, and it writes
scores and a page to read.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy import annotate, cascade, corpus, evaluate, model, report, study, train, world
from lacy.config import Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rich.console import Console

    from lacy.cascade import Policy
    from lacy.evaluate import WorldResult
    from lacy.world import World


@dataclass
class DemoConfig:
    """Train and evaluate a plain and a lacy model in a made-up world, or tune a real model.

    The made-up world takes about two minutes on two cores and needs no network and no account. OUT
    then holds report.html (open it in a browser), results.json, the world with its database, the
    packed texts, and both models.

    With --real, a pretrained model of 135 million parameters learns to call, and completes
    sentences about people, countries and elements, alone and with a database of facts.
    """

    out: Path | None = None
    """Folder to write, by default demo or, with --real, demo-real; an earlier demo in it is
    replaced."""
    # [A real model]
    real: bool = False
    """Tune a pretrained model instead of training two small ones."""
    model: str = "smollm2"
    """The pretrained model of --real: smollm2, a .gguf file, a folder, or a Hub name."""
    texts: Path | None = None
    """Articles to fit the row on with --real, instead of those that ship with lacy."""
    subjects: Rare[int] = 60
    """Number of people, countries and elements that --real asks about and does not fit on."""
    # [The made-up world]
    people: int = 200
    """Number of people in the world; more than a model this small can learn in a minute."""
    steps: int = 450
    """Training steps of each model."""
    ask: int = 100
    """Number of people that each model writes about."""
    call_rate: Rare[float] = 0.15
    """Share of training targets that become <CALL> (the paper's, §4)."""
    budget: Rare[float] = 0.22
    """Share of generated tokens from the database in the controls, which call at random or where
    the plain model is unsure (the paper's, §5.1); the lacy model calls about as often."""
    seed: int = 0
    """Seed of the world and of both models."""


FLAGS = DemoConfig
EXAMPLES = """
lacy demo
lacy demo --real
lacy demo --out /tmp/look --people 60 --steps 300
"""

VOCABULARY, CONTEXT, ROWS = 2048, 256, 6
"""Vocabulary size, tokens per row, rows per step: they learn fastest on two cores."""
TRAINING: dict[str, Any] = {
    "model": "demo", "batch_rows": ROWS, "optimizer": "muon", "lr": 6e-3, "decay": 0.3,
    "decay_shape": "linear", "dtype": "fp32", "device": "cpu", "threads": 1, "save_minutes": 0.0,
    "quiet": True,
}  # fmt: skip
"""Settings of both models; fp32 and one thread give nearly the same models on all machines."""
# With the paper's text weight of 0, the model would not learn which kind of value belongs where,
# and could not choose among the values that a database offers.
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"method": "none"},
    "lacy": {"method": "lacy", "call_negative": "softmax", "text_weight": 0.5},
}
CALIBRATION = 100
"""Number of training texts on which each model is calibrated."""
CONTENTS = (
    "world", "data", "plain", "lacy", "results.json", "report.html", "model", "states",
    "facts.sqlite",
)  # fmt: skip
"""Files and folders that a demo writes, and that the next one replaces."""


def run(config: DemoConfig) -> int:
    """Run the demo."""
    begin = time.perf_counter()
    from rich.console import Console

    console = Console()
    folder = config.out or Path("demo-real" if config.real else "demo")
    if config.real:
        from lacy.cli.demo_real import run_real

        with _locked(folder) as out:
            run_real(config.model, config.texts, config.subjects, out, config.seed, begin)
        return 0
    with _locked(folder) as out:
        with _step(console, "Make a world of people whose every fact is known"):
            made = _make_world(config, out)
        title = (
            "Train a plain and a lacy model side by side, one core each, and ask both about "
            f"{config.ask} people"
        )
        with _step(console, title):
            results = _train_and_evaluate(config, out, console)
        figures = report.demo_figures(results, config.budget)
        figures["seconds"] = round(time.perf_counter() - begin, 1)
        stranger = made.prompts("unseen", 1)[0]
        report.write_demo(out, figures, results, asdict(config), stranger)
        report.show_demo(console, out, figures["seconds"], results, stranger)
    return 0


@contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Lock the folder and remove an earlier demo; refuse a folder with other contents."""
    from lacy.disk import OWNER_FILE, can_replace, lock

    if out.exists() and not can_replace(out):
        raise LacyError("E16", path=out)
    with lock(out):
        for name in CONTENTS:
            old = out / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        (out / OWNER_FILE).write_text("Written by lacy; replaced as a whole.\n", encoding="utf-8")
        yield out


@contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    begin = time.perf_counter()
    console.print(f"[bold]{title}[/bold]")
    yield
    console.print(f"  [dim]{time.perf_counter() - begin:.1f} s[/dim]")


def _make_world(config: DemoConfig, out: Path) -> World:
    """Write world, tokenizer and packed texts."""
    made = world.make_world(config.people, config.seed)
    made.save(out / "world")
    known = len(made.people("train"))
    # With about two texts per row, the steps read this many, so no text is read twice.
    per_person = 1 + config.steps * ROWS * 2 // known
    texts = list(made.documents("train", per_person=per_person))
    tokenizer = corpus.train_tokenizer(
        (text.text for text in texts[:3000]), VOCABULARY, split_digits=False
    )
    encoded = (annotate.encode(document, tokenizer) for document in texts)
    corpus.PackedData.write(encoded, tokenizer, CONTEXT, out / "data")
    return made


def _train_and_evaluate(config: DemoConfig, out: Path, console: Console) -> dict[str, WorldResult]:
    """Train and evaluate both models, each in a separate process.

    For models this small, two processes with one thread are faster than one with two.
    """
    with study.workers(len(MODELS)) as pool:
        work = {name: pool.submit(_one_model, name, config, out) for name in MODELS}
        _watch(work, out, config.steps, console)
        return {name: future.result() for name, future in work.items()}


def _one_model(name: str, config: DemoConfig, out: Path) -> WorldResult:
    """Train one of the models and evaluate it with every policy."""
    from lacy.sources.db import Database

    shared: dict[str, Any] = {**TRAINING, "data": out / "data", "out": out / name}
    settings = train.TrainConfig(
        **shared,
        **MODELS[name],
        call_rate=config.call_rate,
        steps=config.steps,
        seed=config.seed,
    )
    train.train(settings)
    made, loaded = world.load_world(out / "world"), model.load_model(out / name)
    documents = itertools.islice(made.documents("train"), CALIBRATION)
    with Database(out / "world" / "truth.sqlite", name="database") as source:
        return evaluate.evaluate_world(
            loaded,
            made,
            source,
            _policies(name, config),
            people=config.ask,
            call_rate=config.budget,
            seed=config.seed,
            calibration=cascade.calibrate(loaded, documents),
        )


def _policies(name: str, config: DemoConfig) -> dict[str, Policy | str]:
    policies: dict[str, Policy | str] = {
        "alone": cascade.Never(),
        "random": cascade.Random(config.budget, seed=config.seed),
    }
    if name == "plain":
        policies["entropy"] = cascade.Budget(config.budget, by="entropy")
    else:
        policies["database"] = cascade.Threshold(0.0)
    return policies


def _watch(work: dict[str, Future[WorldResult]], out: Path, steps: int, console: Console) -> None:
    """Show the progress of both models until they are done or one fails."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lacy.run import read_metrics

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
                last = (read_metrics(out / name / "metrics.jsonl") or [{}])[-1]
                step = last.get("step", 0)
                note = f"loss {last['loss']:.2f}" if "loss" in last else "starting"
                note = "answering questions" if step >= steps else note
                note = "done" if work[name].done() else note
                progress.update(bar, completed=step, note=note)
            time.sleep(0.25)
