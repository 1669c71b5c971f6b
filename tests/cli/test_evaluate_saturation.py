"""``lacy evaluate --saturation`` as typed: one model, a run's checkpoints, mistakes."""

import json

import pytest
import torch

from helpers import pages
from lacy.corpus import write_documents
from lacy.model import build_model, save_model, set_gate, set_taught
from lacy.report import SaturationSeries, saturation_figure
from lacy.results import METRICS
from lacy.testing import byte_tokenizer
from lacy.types import Document, Mark


def lacy(*argv):
    return pages.lacy(*map(str, argv))


@pytest.fixture
def texts(tmp_path):
    found = []
    for number in range(6):
        text = f"Person {number} was born in {1900 + 7 * number}."
        begin = text.index("19")
        found.append(Document(str(number), text, marks=(Mark(begin, begin + 4, "DATE"),)))
    write_documents(found, tmp_path / "texts.jsonl")
    return tmp_path / "texts.jsonl"


@pytest.fixture
def tiny():
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64, width=32, layers=2)
    set_gate(model, "softmax")
    return model, tokenizer


def test_a_model_is_measured_printed_written_and_continued(tiny, texts, tmp_path, capsys):
    model = save_model(tmp_path / "model", *tiny)
    out = tmp_path / "saturation.json"
    argv = ("evaluate", model, "--saturation", texts, "--out", out, "--train-heads")
    assert lacy(*argv) == 0
    first = capsys.readouterr()
    for shown in ("Output head", "What passes the head", "effective rank", "trained on kept"):
        assert shown in first.out
    assert "trained, rank 4" in first.err
    data = json.loads(out.read_text())
    assert "python" in data["environment"]
    for result in data["results"]:
        assert result["metric"] in METRICS
        assert result["conditions"].get("loss") in (None, "text", "call")
    assert lacy(*argv) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "rank" not in second.err and "states" not in second.err
    assert json.loads(out.read_text())["results"] == data["results"]


def test_every_checkpoint_of_a_run(tiny, texts, tmp_path, capsys):
    model, tokenizer = tiny
    for step in (10, 20):
        with torch.no_grad():
            model.get_output_embeddings().weight *= 1.1
            model.get_output_embeddings().weight[:, 0] += 0.1
        save_model(tmp_path / "run" / "checkpoints" / f"step-{step:08d}", model, tokenizer)
    out = tmp_path / "run.json"
    argv = ("evaluate", tmp_path / "run", "--saturation", texts, "--checkpoints", "--out", out)
    assert lacy(*argv) == 0
    shown = capsys.readouterr().out
    assert "step-00000010" in shown and "step-00000020" in shown
    data = json.loads(out.read_text())
    names = {result["conditions"]["checkpoint"] for result in data["results"]}
    assert names == {"step-00000010", "step-00000020"}
    measured = list(data["checkpoints"].values())
    said = saturation_figure(
        tmp_path / "figure.svg", [SaturationSeries("run", [10, 20], measured)], loss="text"
    )
    svg = (tmp_path / "figure.svg").read_text()
    assert "singular values" in said and said in svg
    for label in ("rank of the head", "gradient kept, %", "training step"):
        assert label in svg


def test_a_raw_model_and_unmarked_texts(texts, tmp_path, capsys):
    pytest.importorskip("spacy")
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64, width=32, layers=2)
    set_taught(model, taught=False)
    save_model(tmp_path / "model", model, tokenizer)
    argv = ("evaluate", tmp_path / "model", "--saturation", texts)
    assert lacy(*argv, "--people", "4") == 0
    assert "Delegated tokens: all tokens of facts" in capsys.readouterr().out
    bare = [Document(str(n), f"Ada Lovelace was born in London in 181{n}.") for n in range(4)]
    write_documents(bare, tmp_path / "bare.jsonl")
    assert lacy("evaluate", tmp_path / "model", "--saturation", tmp_path / "bare.jsonl") == 0
    caught = capsys.readouterr()
    assert "The texts have no marks" in caught.err
    assert "fact" in caught.out


@pytest.mark.parametrize("what", ["no checkpoints", "one text"])
def test_mistakes_are_one_message(tiny, texts, tmp_path, capsys, what):
    model = save_model(tmp_path / "model", *tiny)
    argv = ["evaluate", model, "--saturation", texts]
    argv += ["--checkpoints"] if what == "no checkpoints" else ["--people", "1"]
    assert lacy(*argv) != 0
    err = capsys.readouterr().err
    assert ("E262" if what == "no checkpoints" else "E260") in err
    assert "Traceback" not in err
