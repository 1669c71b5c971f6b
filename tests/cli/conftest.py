"""A small world and models of random weights, for tests of commands."""

from types import SimpleNamespace

import pytest

from lacy.cli import main


def lacy(*argv):
    """Exit code of a command, run in this process."""
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A world, a model with a long context, and the same with a chat template."""
    from lacy.corpus import load_tokenizer
    from lacy.model import build_model, save_model

    folder = tmp_path_factory.mktemp("workspace")
    assert lacy("data", "world", "--people", 20, "--per-person", 1, "--out", folder / "world") == 0
    argv = ["data", "mark", folder / "world", "--annotator", "gold", "--out", folder / "packed"]
    assert lacy(*argv, "--vocab-size", 400, "--context", 128) == 0
    tokenizer = load_tokenizer(folder / "packed")
    model = build_model("tiny", tokenizer, context=4096, seed=0)
    save_model(folder / "model", model, tokenizer, {"preset": "tiny"})
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
    )
    save_model(folder / "chatty", model, tokenizer, {"preset": "tiny"})
    return SimpleNamespace(
        world=folder / "world", model=folder / "model", chatty=folder / "chatty", lacy=lacy
    )
