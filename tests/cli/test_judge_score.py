"""``lacy judge score`` as typed."""

import json

import pytest

from helpers.pages import lacy
from helpers.verdicts import verdict_server

FACTS = ["Ada was born in 1815.", "Ada was a footballer.", "Ada wrote notes."]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def lines(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    zoey = {"text": "x", "human-atomic-facts": [{"text": "Zoey was born.", "label": "S"}]}
    labelled = [{"text": f, "label": "S" if f != FACTS[1] else "NS"} for f in FACTS]
    lines("labelled.jsonl", [
        {"topic": "Ada", "output": " ".join(FACTS),
         "annotations": [{"text": " ".join(FACTS), "human-atomic-facts": labelled}]},
        {"topic": "Bea", "output": "I'm sorry, I do not know.", "annotations": None},
        {"topic": "Zoey", "output": "Zoey was born.", "annotations": [zoey]},
    ])  # fmt: skip
    lines("pages.jsonl", [
        {"title": "Ada", "text": "Ada was born in 1815 in London. She wrote notes."},
        {"title": "Zoé", "text": "Zoé was born."},
    ])  # fmt: skip
    return tmp_path


def output(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_labels_of_the_file(files, capsys):
    assert lacy("judge", "score", "labelled.jsonl", "--judge", "labels", "--gamma", "0") == 0
    shown = capsys.readouterr().out
    assert "FActScore of 3 texts" in shown and "83.3%" in shown
    found = output(files / "labelled_factscore.json")
    assert found["score"] == pytest.approx((2 / 3 + 1) / 2) and "init_score" not in found
    assert found["decisions"][1] is None


def test_a_judge_with_pages_counts_what_it_cannot_judge(files, capsys):
    command = ["judge", "score", "labelled.jsonl", "--pages", "pages.jsonl", "--judge", "overlap"]
    assert lacy(*command, "--out", "a.json") == 0
    shown = capsys.readouterr().out
    for words in ("Judge: overlap", "Agreement: AUROC", "no page has this title", "'Zoey'", "'Zoé'",
                  "abstained"):  # fmt: skip
        assert words in shown
    results = {one["metric"]: one for one in output(files / "a.json")["lacy"]["results"]}
    assert results["factscore_init"]["value"] == pytest.approx(2 / 3)
    assert results["factscore_init"]["conditions"]["judge"] == "overlap"
    assert results["facts_unjudged"]["value"] == pytest.approx(1 / 4)
    assert lacy(*command, "--titles", "normal", "--out", "b.json") == 0
    assert output(files / "b.json")["lacy"]["unjudged"] == {"no page has this title": 1}


def test_an_endpoint_is_asked_once_and_two_runs_give_equal_bytes(files, capsys):
    oracle = {FACTS[0]: True, FACTS[1]: False, FACTS[2]: True}
    with verdict_server(oracle) as server:
        command = ["judge", "score", "labelled.jsonl", "--pages", "pages.jsonl", "--facts", "given",
                   "--judge", f"{server.url}#m", "--out"]  # fmt: skip
        assert lacy(*command, "a.json") == 0
        assert server.asked == 3
        assert lacy(*command, "a.json") == 0
        assert server.asked == 3
        first = (files / "a.json").read_bytes()
        (files / "a.answers.jsonl").unlink()
        assert lacy(*command, "a.json") == 0
        assert server.asked == 6
    assert (files / "a.json").read_bytes() == first
    assert "Agreement: unknown" in capsys.readouterr().out


def test_a_judge_known_to_be_unfit_gives_no_factscore(files, capsys):
    score = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 9, "unit": "AUROC"}
    one = {"model": "ChatGPT", "auroc": score, "pearson": score, "gap": score, "accuracy": score,
           "facts": 50, "not_judgeable": 0}  # fmt: skip
    (files / "check.json").write_text(json.dumps({"judge": "overlap", "agreements": [one]}))
    command = ["judge", "score", "labelled.jsonl", "--pages", "pages.jsonl", "--judge", "overlap",
               "--agreement", "check.json", "--out", "a.json"]  # fmt: skip
    assert lacy(*command) == 0
    shown = capsys.readouterr().out
    assert "too little with people" in shown and "FActScore of" not in shown
    assert output(files / "a.json")["score"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labelled.jsonl"], "--pages"),
        (["missing.jsonl", "--pages", "pages.jsonl"], "E13"),
        (["labelled.jsonl", "--pages", "pages.jsonl", "--judge", "nobody"], "E216"),
        (["labelled.jsonl", "--pages", "pages.jsonl", "--facts", "claues"], "E228"),
        (["pages.jsonl", "--pages", "pages.jsonl"], "E225"),
        (["labelled.jsonl", "--pages", "pages.jsonl", "--judge", "overlap", "--agreement",
          "pages.jsonl"], "E230"),
    ],
)  # fmt: skip
def test_mistakes(files, capsys, words, message):
    assert lacy("judge", "score", *words) in (2, 3)
    assert message in capsys.readouterr().err


def test_nothing_is_downloaded_and_no_key_is_needed(files, monkeypatch):
    """FActScore's users met a moved download, a model that is gone, and a key for each run."""

    def connect(*args):
        raise AssertionError("it connects to a server")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    command = ["judge", "score", "labelled.jsonl", "--pages", "pages.jsonl", "--facts", "given"]
    assert lacy(*command, *["--recall"] * clauses()) == 0
    assert output(files / "labelled_factscore.json")["score"] is not None


def clauses():
    """True if a spaCy pipeline with a parser is installed."""
    import spacy

    from lacy.factscore.clauses import PIPELINES

    return any(spacy.util.is_package(name) for name in PIPELINES)
