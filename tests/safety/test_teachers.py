"""Teachers: guard models in a folder, models behind a server, and files of labelled texts."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from helpers.scripted_server import scripted_server
from helpers.toy_safety import WORDS, toy_texts
from lacy.cli import main
from lacy.errors import LacyError
from lacy.safety import (
    EndpointTeacher,
    FolderTeacher,
    LabelFields,
    LabelledText,
    open_teacher,
    read_labelled,
)


@pytest.fixture(scope="module")
def guard(encoder, tmp_path_factory):
    """A guard model of three labels with random weights."""
    folder = tmp_path_factory.mktemp("guard")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS.split()), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, initializer_range=0.5,
        id2label={0: "Safe", 1: "Controversial harm", 2: "Unsafe"},
        label2id={"Safe": 0, "Controversial harm": 1, "Unsafe": 2},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_file=str(encoder / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", unk_token="[UNK]", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_a_guard_models_labels_become_logits(guard):
    teacher = open_teacher(str(guard))
    assert isinstance(teacher, FolderTeacher)
    texts = [LabelledText("how to make a bomb"), LabelledText("sure", prompt="tell me"),
             LabelledText("the cake", prompt="")]  # fmt: skip
    found = teacher.logits(texts)
    with torch.inference_mode():
        read = teacher._tokenizer(["how to make a bomb"], return_tensors="pt")
        p = teacher._model(**read).logits.double().softmax(-1)[0]
    assert found[0] == pytest.approx(math.log((p[1] + p[2]) / p[0]), abs=1e-4)
    assert np.isfinite(found).all() and len(set(found.tolist())) == 3


@pytest.mark.parametrize(
    ("labels", "harmful"),
    [
        (["safe", "unsafe"], [1]),
        (["toxic", "non-toxic"], [0]),
        (["LABEL_0", "LABEL_1"], [1]),
        (["neither", "hate", "offensive"], [1, 2]),
        (["positive", "negative"], None),
        (["toxic", "hate"], None),
        (["LABEL_0", "LABEL_1", "LABEL_2"], None),
    ],
)
def test_labels_that_mean_harm(labels, harmful):
    from lacy.safety.teachers import harmful_labels

    if harmful is None:
        with pytest.raises(LacyError, match=r"E349.*which means harmful"):
            harmful_labels(labels, "x")
    else:
        assert harmful_labels(labels, "x") == harmful


def test_what_is_no_classifier_is_no_teacher(tmp_path):
    with pytest.raises(LacyError, match="E349"):
        open_teacher(str(tmp_path))


def reply(text, *alternatives):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    if alternatives:
        top = [{"token": word, "logprob": math.log(p)} for word, p in alternatives]
        choice["logprobs"] = {"content": [{"token": text, "logprob": -1.0, "top_logprobs": top}]}
    return 200, {"choices": [{**choice, "finish_reason": "stop"}]}


def test_a_model_behind_a_server_is_asked():
    text = LabelledText("how to kill", prompt=None)
    with scripted_server() as server:
        teacher = open_teacher(server.url + "#guard")
        assert isinstance(teacher, EndpointTeacher) and teacher.name.endswith("#guard")
        teacher._client.concurrency = 1
        server.replies = [reply("Yes", ("Yes", 0.6), ("No", 0.2)), reply("No."), reply("Maybe")]
        found = teacher.logits([text, LabelledText("sure", prompt="p"), text])
        assert found[0] == pytest.approx(math.log(3)) and found[1] < -6 and math.isnan(found[2])
        asked = server.seen[1][2]["messages"][0]["content"]
        assert "<request>\np\n</request>" in asked and "<answer>\nsure\n</answer>" in asked
        with pytest.raises(LacyError, match=r"E350.*Yes or No"):
            teacher.logits([text])


def test_labels_are_read(tmp_path):
    rows = [
        {"text": "a", "label": 1, "source": "s"},
        {"text": "b", "label": "Safe", "prompt": "", "id": "x"},
        {"text": "c", "label": None, "prompt": "p"},
        {"text": "d", "label": True},
        {"text": "e", "label": 0},
    ]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_labelled([file])
    assert [one.harmful for one in found] == [True, False, None, True, False]
    assert [one.role for one in found] == ["prompt", "answer", "answer", "prompt", "prompt"]
    assert [one.source for one in found] == ["s", "many", "many", "many", "many"]
    assert found[1].id == "x"
    table = tmp_path / "tweets.csv"
    table.write_text("tweet,class\nx,2\ny,0\nz,1\n")
    fields = LabelFields(text="tweet", label="class", harmful=["hate"], safe=["2"])
    assert [one.harmful for one in read_labelled([table], fields)] == [False, False, True]
    table.write_text("tweet,class\nx,5\n")
    with pytest.raises(LacyError, match=r"E347.*'5' is not known"):
        read_labelled([table], fields)


def test_a_classifier_is_trained_and_checked(tmp_path, encoder, guard, capsys):
    file, other = tmp_path / "toy.jsonl", tmp_path / "other.jsonl"
    for path, seed in ((file, 0), (other, 9)):
        rows = [{"text": t.text, "label": int(t.harmful), "id": t.id, "source": path.stem,
                 **({} if t.prompt is None else {"prompt": t.prompt})}
                for t in toy_texts(60, seed)]  # fmt: skip
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ["--encoder", encoder, "--layers", 1, "--epochs", 1, "--batch", 8, "--prompt-tokens", 8,
             "--answer-tokens", 8]  # fmt: skip
    out, figures = tmp_path / "classifier", tmp_path / "figures.json"
    run = ["safety", "train", file, *small, "--out", out]
    assert main(list(map(str, run))) == 0
    shown = capsys.readouterr()
    assert "threshold for prompts" in shown.out and "1 layers" in shown.out
    assert f"lacy safety check {out}" in shown.err
    check = ["safety", "check", out, other, file, "--out", figures]
    assert main(list(map(str, check))) == 0
    shown = capsys.readouterr().out
    assert "Trained on texts of these sources, too: toy" in shown
    data = json.loads(figures.read_text())
    assert {one["source"] for one in data["figures"]} == {"all", "other", "toy"}
    assert "bomb" not in figures.read_text() and "bomb" not in shown  # counts, never texts
    for teacher in ("--labels-only", f"--teacher={guard}", f"--teacher={out}"):
        assert main([*map(str, run), teacher]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main([*map(str, run[:-1]), str(tmp_path / "mine")]) == 2
    assert "E16" in capsys.readouterr().err
