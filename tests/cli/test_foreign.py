"""A checkpoint from elsewhere on the command line: mark, train, generate, export."""

import io
import json
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.corpus import load_tokenizer
from lacy.corpus.special_tokens import KEY
from lacy.model import load_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


@pytest.fixture(scope="module")
def chatml(workspace, tmp_path_factory):
    """A model like SmolLM2-Instruct, whose begin and end tokens belong to its chat template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("foreign") / "base"
    state = json.loads(load_tokenizer(workspace.model).backend_tokenizer.to_str())
    call = state["added_tokens"].pop()
    state["model"]["vocab"].pop("<CALL>", None)
    for n, name in enumerate(("<|im_start|>", "<|im_end|>")):
        state["added_tokens"].append({**call, "id": call["id"] + n, "content": name})
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<|im_start|>",
        eos_token="<|im_end|>",
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 30, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_from_annotation_to_a_file_for_llama_cpp(workspace, chatml, tmp_path, capsys):
    gguf = pytest.importorskip("gguf", reason="needs the extra gguf")
    argv = ["data", "mark", workspace.world, "--annotator", "gold", "--tokenizer", chatml]
    assert workspace.lacy(*argv, "--context", 64, "--out", tmp_path / "p") == 0
    said = capsys.readouterr().err
    assert "texts begin with '<|endoftext|>'" in said and "--begin-token" in said
    run = tmp_path / "run"
    argv = ["train", "--data", tmp_path / "p", "--model", chatml, "--out", run]
    assert workspace.lacy(*argv, "--steps", 2, "--batch-rows", 2, "--call-rate", 0.05) == 0
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert tokenizer("Ada").input_ids[0] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    plain = AutoModelForCausalLM.from_pretrained(run / "model")
    ends = plain.generation_config.eos_token_id
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]
    assert plain.config.vocab_size == len(tokenizer)
    argv = ["generate", run, "Ada", "--policy", "never", "--max-new-tokens", 2]
    assert workspace.lacy(*argv) == 0
    assert workspace.lacy("export", run, "--out", tmp_path / "m.gguf") == 0
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == CHATML


def test_the_begin_token_is_chosen_and_stored(workspace, chatml, tmp_path, capsys):
    argv = [
        "data",
        "mark",
        workspace.world,
        "--annotator",
        "gold",
        "--tokenizer",
        chatml,
        "--context",
        64,
    ]
    out = tmp_path / "p"
    assert workspace.lacy(*argv, "--begin-token", "<|im_start|>", "--out", out) == 0
    assert "also a mark of the chat template" in capsys.readouterr().err
    settings = json.loads((out / "tokenizer_config.json").read_text())
    assert settings[KEY]["begin"] == "<|im_start|>"
    again = [
        "data",
        "mark",
        workspace.world,
        "--annotator",
        "gold",
        "--tokenizer",
        out,
        "--context",
        32,
    ]
    assert workspace.lacy(*again, "--out", tmp_path / "q") == 0
    settings = json.loads((tmp_path / "q" / "tokenizer_config.json").read_text())
    assert settings[KEY]["begin"] == "<|im_start|>"
    argv += ["--out", tmp_path / "r"]
    assert workspace.lacy(*argv, "--begin-token", "<s>") == 2
    assert "[E98]" in capsys.readouterr().err
    argv = ["data", "mark", workspace.world, "--annotator", "gold", "--begin-token", "<s>"]
    assert workspace.lacy(*argv, "--out", tmp_path / "s") == 2
    assert "[E12]" in capsys.readouterr().err


def test_texts_longer_than_the_context_are_annotated_again(workspace, chatml, tmp_path, capsys):
    argv = ["data", "mark", workspace.world, "--annotator", "gold", "--tokenizer", chatml]
    assert workspace.lacy(*argv, "--context", 128, "--out", tmp_path / "p") == 0
    argv = ["train", "--data", tmp_path / "p", "--model", chatml, "--out", tmp_path / "run"]
    assert workspace.lacy(*argv, "--steps", 1) == 3
    said = capsys.readouterr().err
    assert "[E59]" in said and "annotate the texts again with --context 64" in said


@pytest.mark.parametrize("kind", ["adapter", "gguf"])
def test_other_kinds_are_named_by_every_command(workspace, tmp_path, capsys, kind):
    place, code = tmp_path / "it", "[E156]"
    if kind == "adapter":
        place.mkdir()
        (place / "adapter_config.json").write_text('{"base_model_name_or_path": "./base"}')
    else:
        place, code = tmp_path / "m.gguf", "[E134]"
        place.write_bytes(b"GGUF\x03\0\0\0")
    tries = (
        ["generate", place, "x", "--policy", "never"],
        ["generate", workspace.model, "x", "--source", place],
        ["data", "check", place],
        ["export", place],
        ["why", place, "x"],
        ["train", "--data", workspace.model.parent / "packed", "--out", tmp_path / "r",
         "--model", place, "--steps", 1],
    )  # fmt: skip
    for argv in tries:
        assert workspace.lacy(*argv) == 3, argv
        merge_first = kind == "adapter" and (argv[0] == "train" or "--source" in argv)
        assert ("[E131]" if merge_first else code) in capsys.readouterr().err


def test_a_raw_model_runs_in_every_command(workspace, chatml, tmp_path, capsys, monkeypatch):
    limit = ("--max-new-tokens", 4)
    for policy in ("never", "random=0.5", "entropy=0.1", "top2=0.5", "always"):
        chosen = ("--policy", policy, "--source", workspace.world, *limit)
        assert workspace.lacy("generate", chatml, "Ada", *chosen) == 0
        assert workspace.lacy("why", chatml, "Ada", *chosen) == 0
    world = ("--source", workspace.world, "--calibrate", 0)
    assert workspace.lacy("generate", chatml, "Ada", *world, *limit) == 0
    said = capsys.readouterr().err
    assert "Policy: entropy=4" in said and "lacy tune MODEL --data DATA" in said
    argv = ["evaluate", chatml, "--world", workspace.world, "--people", 3, "--calibrate", 3]
    assert workspace.lacy(*argv, *limit) == 0
    assert "budget=0.22,by=entropy" in capsys.readouterr().err
    assert workspace.lacy("export", chatml, "--out", tmp_path / "m.gguf") == 0
    assert workspace.lacy("data", "check", chatml) == 0
    shown = capsys.readouterr()
    for row in ("not taught to call", "stops at <|endoftext|> <|im_end|>", "a text begins with"):
        assert row in " ".join(shown.out.split())
    assert "texts begin with '<|endoftext|>'" in " ".join(shown.err.split())
    assert workspace.lacy("generate", f"{chatml}:budget=0.22", "Ada") == 2
    said = capsys.readouterr().err
    assert "[E152]" in said and f"lacy tune {chatml} --data DATA" in said
    argv = ["generate", chatml, "Ada", "--begin-token", "<|im_start|>", "--policy", "never"]
    assert workspace.lacy(*argv, *limit) == 0
    assert "also a mark of the chat template" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ada?\n"))
    chats = ["chat", chatml, "--policy", "entropy=1", *world, *limit]
    assert workspace.lacy(*chats) == 0


def test_a_raw_model_is_served(chatml):
    with serving(Engine(load_model(chatml), policy="entropy=1")) as server:
        assert server.complete("Ada", max_tokens=3).status_code == 200
        answer = server.post("/v1/completions", model="slm:budget=0.2", prompt="Ada")
        assert answer.status_code == 400 and "lacy tune" in answer.text
