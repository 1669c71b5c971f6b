"""The script that trains the bundled pipeline, on a tiny corpus with an untrained teacher."""

import gzip
import json
import sys
from pathlib import Path

import pytest
import spacy
import torch

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import pipeline_labels
import train_pipeline

SENTENCES = [
    "Ann Lee was born in Bath in 1920.", "Red Hen Ltd. sold 300 eggs to Jon Pratt.",
    "She isn't from Lyon; he is.", "The river Arno flows through Pisa.",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Articles, a judge's labels, and a teacher with random weights."""
    place = tmp_path_factory.mktemp("pipeline")
    for name, count in (("train", 60), ("valid", 4)):
        path = place / "data" / "wiki" / f"{name}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [
            " ".join(SENTENCES[(n + k) % 4] for k in range(3)) + f" {n}." for n in range(count)
        ]
        path.write_bytes(gzip.compress("\n".join(json.dumps({"text": t}) for t in texts).encode()))
    judged = "Ann Lee was born in [dblookup('Ann Lee', 'Birth Place') -> Bath] Bath in 1920."
    examples = {"examples": [{"annotated_text": judged}] * 6}
    (place / "data" / "judge").mkdir()
    for name in pipeline_labels.JUDGES:
        (place / "data" / "judge" / name).write_text(json.dumps(examples))
    teacher = spacy.blank("en")
    for factory, labels in (
        ("ner", ("GPE", "PERSON")),
        ("morphologizer", ("POS=NOUN", "POS=VERB")),
    ):
        pipe = teacher.add_pipe(factory)
        for label in labels:
            pipe.add_label(label)
    teacher.initialize()
    teacher.to_disk(place / "teacher")
    return place


@pytest.fixture
def run(place, monkeypatch, tmp_path):
    """Run the script; return its last checkpoint and the settings in ``meta.json``."""
    monkeypatch.setattr(pipeline_labels, "SHARD", 10)

    threads = torch.get_num_threads()

    def run(*args, work="work"):
        words = [
            "--data",
            place / "data",
            "--teacher",
            place / "teacher",
            "--out",
            tmp_path / "out",
        ]
        words += ["--work", tmp_path / work, "--width", 8, "--depth", 1, "--batch", 100]
        words += ["--dropout", 0, "--rows", 50, 50, 50, 50, *args]
        monkeypatch.setattr(sys, "argv", ["train_pipeline.py", *map(str, words)])
        train_pipeline.main()
        torch.set_num_threads(threads)
        name = "continued.pt" if "--start" in args else "checkpoint.pt"
        meta = json.loads((tmp_path / "out" / "meta.json").read_text())
        return torch.load(tmp_path / work / name, weights_only=True), meta["training"]

    return run


def test_a_run_that_ended_early_continues_to_the_same_weights(run):
    first, meta = run("--epochs", 2, "--steps", 3)
    assert first["step"] == meta["steps"] == 3
    rest, meta = run("--epochs", 2)
    whole, _ = run("--epochs", 2, work="other")
    assert rest["step"] == whole["step"] == meta["steps"] > 6
    assert all(torch.equal(rest["network"][k], v) for k, v in whole["network"].items())


def test_a_second_run_starts_from_weights_on_other_shards(run, tmp_path):
    first, _ = run("--epochs", 2, "--steps", 4, "--repeat-judged", 2)
    start = ("--start", tmp_path / "work" / "checkpoint.pt", "--shards", 2, 3, "--warmup", 0)
    same, _ = run(*start, "--lr", 0, "--repeat-judged", 0)
    assert all(torch.equal(same["network"][k], v) for k, v in first["network"].items())
    second, meta = run(*start, "--lr", 1e-3, "--epochs", 1, "--repeat-judged", 0)
    changed = {k for k, v in second["network"].items() if not torch.equal(v, first["network"][k])}
    assert "heads.entities.weight" in changed
    assert "heads.facts.weight" not in changed  # only the judge's documents have facts
    assert (meta["after"]["steps"], meta["after"]["repeat_judged"]) == (4, "2")
    assert meta["shards"] == [2, 3] and meta["steps"] == second["step"]
    steps = {key: state["step"] for key, state in second["optimizer"]["state"].items()}
    assert max(steps.values()) == 4 + second["step"]  # Adam continues, too
