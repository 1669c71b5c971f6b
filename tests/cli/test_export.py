"""``lacy export`` writes the file that it names, and refuses what it cannot write."""

import pytest

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
