"""``lacy distill``: from two models and packed texts to a distilled one."""

import json

import pytest
import torch

from lacy.annotate import encode
from lacy.cli import main
from lacy.corpus import PackedData
from lacy.model import build_model, load_model, save_model, set_taught
from lacy.testing import byte_tokenizer
from lacy.world import make_world

CONTEXT = 48


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two models of the world's bytes, packed texts with marks, and texts without any."""
    folder, tokenizer = tmp_path_factory.mktemp("distill"), byte_tokenizer()
    texts = list(make_world(12, 0).documents("train"))[:8]
    PackedData.write((encode(t, tokenizer) for t in texts), tokenizer, CONTEXT, folder / "data")
    lines = [json.dumps({"id": t.id, "text": t.text}) for t in texts]
    (folder / "plain.jsonl").write_text("\n".join(lines) + "\n")
    for name, seed in (("small", 1), ("large", 2)):
        model = build_model("tiny", tokenizer, context=CONTEXT, seed=seed)
        save_model(folder / name, model, tokenizer)
    return folder


def distilling(places, out, *more):
    where = ["--data", str(places / "data"), "--out", str(out)]
    how = ["--tokens", "400", "--device", "cpu", "--threads", "1", "--batch-rows", "4"]
    return ["distill", str(places / "small"), *where, *how, *more]


def test_a_model_is_distilled(places, tmp_path, capsys):
    words = distilling(places, tmp_path / "run", "--teacher", str(places / "large"))
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "learning rate 0.001: depth full of a pretrained model" in printed.out
    assert "Imitate: unmarked" in printed.err
    assert "Next: lacy tune" in printed.out
    before, after = (
        load_model(place).model.get_input_embeddings().weight
        for place in (places / "small", tmp_path / "run")
    )
    assert not torch.equal(before, after)
    assert main(words) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_model_that_does_not_call_is_not_offered_a_source(places, tmp_path, capsys):
    raw = load_model(places / "small")
    set_taught(raw.model, taught=False)
    save_model(tmp_path / "raw", raw.model, raw.tokenizer)
    words = distilling(places, tmp_path / "run", "--teacher", str(places / "large"))
    assert main([words[0], str(tmp_path / "raw"), *words[2:]]) == 0
    printed = capsys.readouterr()
    assert "Next: lacy generate" in printed.out and "--source" not in printed.out
    assert "lacy tune" not in printed.out + printed.err


def test_an_int8_student_is_refused_by_its_name_before_anything_is_written(
    places, tmp_path, capsys
):
    pytest.importorskip("torchao", reason="needs the extra quant")
    from lacy.runtimes import write_safetensors

    write_safetensors(load_model(places / "small"), tmp_path / "int8", "int8")
    words = distilling(places, tmp_path / "run", "--teacher", str(places / "large"))
    assert main([words[0], str(tmp_path / "int8"), *words[2:]]) == 2
    said = capsys.readouterr().err
    assert "E311" in said and f"{tmp_path / 'int8'} is already" in said
    assert [path.name for path in tmp_path.iterdir()] == ["int8"]


def test_predictions_are_stored_once(places, tmp_path, capsys):
    more = ("--store", str(tmp_path / "stored"), "--top", "8")
    assert main(distilling(places, tmp_path / "a", "--teacher", str(places / "large"), *more)) == 0
    assert "rows." in capsys.readouterr().err
    assert main(distilling(places, tmp_path / "b", *more)) == 0
    weights = [load_model(tmp_path / name).model.state_dict() for name in ("a", "b")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_dry_run_writes_nothing(places, tmp_path, capsys):
    words = distilling(places, tmp_path / "run", "--teacher", str(places / "large"), "--dry-run")
    assert main(words) == 0
    assert "teacher " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_calls_are_learned_on_request(places, tmp_path, capsys):
    words = distilling(
        places, tmp_path / "run", "--teacher", str(places / "large"), "--calls", "--quiet"
    )
    assert main(words) == 0
    assert capsys.readouterr().out == ""
    assert load_model(tmp_path / "run").meta["training"]["settings"]["method"] == "lacy"


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("E306", ()),
        ("E301", ("--store", "nothing")),
        ("E12", ("--teacher", "large", "--weight", "2")),
        ("E13", ("--teacher", "./nowhere")),
    ],
)
def test_mistakes(places, tmp_path, capsys, monkeypatch, code, more):
    monkeypatch.chdir(places)
    assert main(distilling(places, tmp_path / "run", *more)) != 0
    assert f"[{code}]" in capsys.readouterr().err


def test_texts_without_marks(places, tmp_path, capsys):
    words = distilling(places, tmp_path / "run", "--teacher", str(places / "large"))
    words[words.index(str(places / "data"))] = str(places / "plain.jsonl")
    assert main([*words, "--imitate", "unmarked"]) != 0
    assert "[E305]" in capsys.readouterr().err
    assert main([*words, "--context", "48", "--hold-out", "0"]) == 0
    assert "Imitate: all" in capsys.readouterr().err
