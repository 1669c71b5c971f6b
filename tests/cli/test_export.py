"""``lacy export`` writes the file that it names, and refuses what it cannot write."""

import io
import re

import pytest

from lacy.almanac import load_subjects, write_facts
from lacy.cli import main
from lacy.model import build_model, save_model
from lacy.testing import byte_tokenizer

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64)
    return save_model(tmp_path_factory.mktemp("export") / "mine", model, tokenizer)


def test_writes_beside_the_model_unless_told(folder, tmp_path, capsys):
    assert main(["export", str(folder)]) == 0
    assert gguf.GGUFReader(folder.with_name("mine.gguf")).tensors
    out = tmp_path / "other.gguf"
    assert main(["export", str(folder), "--out", str(out), "--precision", "q8_0"]) == 0
    assert out.stat().st_size < folder.with_name("mine.gguf").stat().st_size
    printed = capsys.readouterr()
    assert "<CALL>" in printed.out
    assert "xllamacpp" in printed.err


def test_mistakes_are_named(folder, tmp_path, capsys):
    assert main(["export", str(folder), "--out", str(tmp_path)]) == 2
    assert "[E12]" in capsys.readouterr().err
    other = build_model("tiny", byte_tokenizer(), context=64)
    other.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    save_model(tmp_path / "other", other, byte_tokenizer())
    assert main(["export", str(tmp_path / "other")]) == 3
    assert "positions linear" in capsys.readouterr().err
    assert not (tmp_path / "other.gguf").exists()


def test_a_model_that_does_not_call_is_called_that(folder, tmp_path, capsys):
    from lacy.model import load_model, set_taught

    raw = load_model(folder)
    set_taught(raw.model, taught=False)
    save_model(tmp_path / "raw", raw.model, raw.tokenizer)
    assert main(["export", str(tmp_path / "raw")]) == 0
    assert "only added, never written" in " ".join(capsys.readouterr().out.split())


def check_it_writes(exported, tmp_path, capsys, monkeypatch):
    """Generate, chat and explain with an exported model and a database, as typed."""
    facts = ["--source", str(write_facts(tmp_path / "facts.sqlite", load_subjects(["person"])))]
    few = ["--max-new-tokens", "4", "--policy", "always"]
    for command in ("generate", "why", "chat"):
        text = [] if command == "chat" else ["Marie Curie"]
        monkeypatch.setattr("sys.stdin", io.StringIO("Marie Curie\n"))
        assert main([command, str(exported), *text, *facts, *few]) == 0, command
        printed = capsys.readouterr()
        assert "Marie Curie" in printed.out, command
        if command == "why":
            assert "birth place" in printed.out  # a call reached the database
        if command == "chat":
            assert re.search(r"[1-9]\d* calls?", printed.out + printed.err)


@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.5), ("f16", 0.5), ("int8", 0.37)])
def test_a_safetensors_folder_in_less_precision(
    folder, tmp_path, capsys, monkeypatch, precision, share
):
    if precision == "int8":
        pytest.importorskip("torchao", reason="needs the extra quant")
    assert main(["export", str(folder), "--to", "safetensors", "--precision", precision]) == 0
    printed = capsys.readouterr()
    out = folder.with_name(f"mine-{precision}")
    assert str(out) in printed.out and "lacy generate" in printed.err
    before, after = ((f / "model.safetensors").stat().st_size for f in (folder, out))
    assert 0.9 * share < after / before < 1.1 * share
    check_it_writes(out, tmp_path, capsys, monkeypatch)


def test_a_precision_of_another_format_is_refused(folder, tmp_path, capsys):
    for to, precision, code in (
        ("safetensors", "q8_0", "E12"), ("onnx", "bf16", "E12"), ("gguf", "int8", "E12"),
        ("safetensors", "int4", "E312"),
    ):  # fmt: skip
        out = tmp_path / f"{to}-{precision}"
        if to == "onnx":
            pytest.importorskip("onnxscript", reason="needs the extra onnx")
        command = ["export", str(folder), "--to", to, "--precision", precision, "--out", str(out)]
        assert main(command) == 2
        assert f"[{code}]" in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.slow
def test_an_onnx_folder_generates_and_is_measured(tmp_path, capsys, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    tokenizer = byte_tokenizer()  # the exporter takes seconds per layer
    model = build_model("tiny", tokenizer, context=64, layers=1)
    folder = save_model(tmp_path / "mine", model, tokenizer)
    assert main(["export", str(folder), "--to", "onnx", "--precision", "int8"]) == 0
    out = folder.with_name("mine-onnx-int8")
    assert str(out) in capsys.readouterr().out
    check_it_writes(out, tmp_path, capsys, monkeypatch)
    texts = tmp_path / "texts.txt"
    texts.write_text("Ada Lovelace was born in London.\n" * 3)
    assert main(["evaluate", str(out), "--texts", str(texts)]) == 0
    capsys.readouterr()
    for command in (["export", str(out)], ["tune", str(out), "--data", str(texts)]):
        assert main(command) == 2
        assert "[E310]" in capsys.readouterr().err
