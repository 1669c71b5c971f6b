"""Tests of samples that contain lists of messages."""

import json

import pytest

from lacy.errors import LacyError
from lacy.safety import PreferencePair, ReplySample, read_samples


def user(text):
    return {"role": "user", "content": text}


def reply(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be short."}
HH = "\n\nHuman: Who is he?\n\nAssistant: Ann?\n\nHuman: No, Bob.\n\nAssistant: %s"


def written(tmp_path, *rows):
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("row", "sample"),
    [
        ({"prompt": [user("p")], "chosen": [reply("c")], "rejected": [reply("r")]},
         PreferencePair("p", "c", "r")),
        ({"prompt": [SYSTEM, user("p")], "chosen": [reply("c")], "rejected": [reply("r")]},
         PreferencePair("p", "c", "r", history=(SYSTEM,))),
        ({"chosen": [user("p"), reply("c")], "rejected": [user("p"), reply("r")]},
         PreferencePair("p", "c", "r")),
        ({"prompt": "p", "chosen": [user("p"), reply("c")], "rejected": [user("p"), reply("r")]},
         PreferencePair("p", "c", "r")),
        ({"prompt": [user("p")], "chosen": "c", "rejected": "r"}, PreferencePair("p", "c", "r")),
        ({"prompt": [user("p")], "completion": [reply("c")]}, ReplySample("p", "c")),
        ({"prompt": "p", "completion": [reply("c")]}, ReplySample("p", "c")),
        ({"messages": [user("a"), reply("b"), user("p"), reply("c")]},
         ReplySample("p", "c", history=(user("a"), reply("b")))),
        ({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]},
         ReplySample("p", "c")),
        ({"messages": [user([{"type": "text", "text": "p"}]), reply("c")]}, ReplySample("p", "c")),
        ({"chosen": HH % "Bob is a poet.", "rejected": HH % "I give up."},
         PreferencePair("No, Bob.", "Bob is a poet.", "I give up.",
                        history=(user("Who is he?"), reply("Ann?")))),
    ],
)  # fmt: skip
def test_messages_become_samples(row, sample, tmp_path):
    [found] = read_samples(written(tmp_path, {**row, "id": ""}))
    assert (found.prompt, found.history) == (sample.prompt, sample.history)
    if isinstance(sample, PreferencePair):
        assert (found.chosen, found.rejected) == (sample.chosen, sample.rejected)
    else:
        assert found.reply == sample.reply


def test_plain_texts_are_not_touched(tmp_path):
    text = "He wrote:\n\nHuman: a novel"
    [found] = read_samples(written(tmp_path, {"prompt": text, "chosen": text, "rejected": "r"}))
    assert (found.prompt, found.chosen) == (text, text)
    assert found.history == ()


def test_a_field_that_is_no_conversation_is_ignored(tmp_path):
    [found] = read_samples(written(tmp_path, {"prompt": "p", "reply": "c", "messages": 3}))
    assert (found.prompt, found.reply) == ("p", "c")


def test_parquet_keeps_its_lists(tmp_path):
    import datasets

    rows = [{"chosen": [user("p"), reply("c")], "rejected": [user("p"), reply("r")], "score": 0.5}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "pairs.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    for source in ("pairs.parquet", "saved"):
        [found] = read_samples(tmp_path / source)
        assert (found.prompt, found.chosen, found.rejected) == ("p", "c", "r")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [user("p")]}, "its messages does not end in a message of the assistant"),
        ({"messages": [reply("c")]}, "the last message before the reply is not one of the user"),
        ({"messages": []}, "its messages is empty"),
        ({"messages": [user("p"), {"role": "tool", "content": "c"}]}, "message 2 .* has no role"),
        ({"messages": [user(" "), reply("c")]}, "message 1 of its messages has no text"),
        ({"messages": [user([{"type": "image"}]), reply("c")]}, "message 1 .* has no text"),
        ({"messages": ["p", "c"]}, "message 1 of its messages is not an object"),
        ({"chosen": [user("p"), reply("c")], "rejected": [user("q"), reply("r")]},
         "the messages before the reply of its rejected are not its prompt"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_explained(row, words, tmp_path):
    with pytest.raises(LacyError, match=rf"E351.*samples.jsonl:1 is no sample: .*{words}"):
        list(read_samples(written(tmp_path, row)))
