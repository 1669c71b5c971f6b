"""A model stops at every end token of its checkpoint, in every way of generating."""

import asyncio
import json

import pytest
import torch

from lacy.cascade import Engine
from lacy.cascade.steps import END_LABEL, explain
from lacy.model import build_model, load_model, save_model
from lacy.model.building import from_checkpoint
from lacy.model.ends import end_ids
from lacy.remote import LoopThread
from lacy.sources import LanguageModel
from lacy.testing import byte_tokenizer
from lacy.types import Request

STOP = 70
"""An ordinary id that only the checkpoint's settings call an end."""

TURN = "{% for m in messages %}{{ m['content'] }}<|turn|>{% endfor %}"


def ender(folder, stop, generation=None, config=None):
    """A model that generates "b" after anything and ``stop`` after "b"."""
    tokenizer = byte_tokenizer()
    b = tokenizer.encode("b", add_special_tokens=False)[0]
    model = build_model("tiny", tokenizer, context=32, tied=False)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        table, head = model.get_input_embeddings().weight, model.lm_head.weight
        table.zero_()
        table[:, 0] = 1.0
        table[b, 0], table[b, 1] = 0.0, 1.0
        head.zero_()
        head[b, 0] = head[stop, 1] = 1.0
    save_model(folder, model, tokenizer)
    for name, value in (("generation_config", generation), ("config", config)):
        file = folder / f"{name}.json"
        content = {**json.loads(file.read_text()), "eos_token_id": value}
        if value is not None:
            file.write_text(json.dumps(content))
    return folder


@pytest.fixture(
    params=[([0, STOP], None), (STOP, None), (None, [0, STOP]), ([STOP, 0], 0), ([0, 9, STOP], 9)],
    ids=str,
)
def folder(request, tmp_path):
    return ender(tmp_path / "m", STOP, *request.param)


def test_every_way_of_generating_stops(folder):
    loaded = load_model(folder)
    assert {0, STOP} <= end_ids(loaded.tokenizer, loaded.model)
    engine = Engine(loaded, None, "never", max_new_tokens=9)
    [answer] = engine.generate(["a"])
    assert (answer.text, answer.finished) == ("ab", True)
    [unanswered] = Engine(loaded, None, "always", max_new_tokens=9).generate(["a"])
    assert (unanswered.text, unanswered.finished) == ("ab", True)

    told = []
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        sequence = engine.sequence(0, "a", None, 9)
        sequence.on_end = told.append
        running.add([sequence])
        for _ in range(9):
            running.step()
    assert told[0].finished and told[0].text == "ab"

    _, steps = explain(engine, "a")
    assert [step.own.text for step in steps] == ["b", END_LABEL]
    partner = LanguageModel(folder)
    [reply] = asyncio.run(partner.ask([Request("a", "value")]))
    assert [c.text for c in reply.candidates] == ["b"]


def test_the_end_of_a_turn_counts_also_where_no_setting_names_it(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": []})
    assert end_ids(tokenizer) == {0}
    tokenizer.chat_template = TURN.replace("<|turn|>", "<|endoftext|>")
    assert end_ids(tokenizer) == {0}
    tokenizer.chat_template = "{{ 1 / 0 }}"
    assert end_ids(tokenizer) == {0}


@pytest.mark.parametrize("bad", [[None, 999, -1, 257], "x", {"a": 1}, 2.5, [True], [[3]]])
def test_invalid_end_tokens_are_ignored(bad):
    from types import SimpleNamespace

    model = SimpleNamespace(config=SimpleNamespace(eos_token_id=bad))
    assert end_ids(byte_tokenizer(), model) == {0}


def test_a_checkpoint_keeps_its_end_tokens_and_gets_those_of_training(tmp_path):
    folder = ender(tmp_path / "m", STOP, [STOP, 5], STOP)
    save_model(tmp_path / "again", *from_checkpoint(folder))
    kept = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert kept["eos_token_id"] == [STOP, 5, 0]
    assert kept["bos_token_id"] == 0
