import gzip
import json

import pytest

from lacy.errors import LacyError
from lacy.factscore import GivenFact, read_responses


def write(path, *rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


SENTENCE = {
    "text": "Ada was English.",
    "human-atomic-facts": [{"text": "Ada was English.", "label": "S"},
                           {"text": "England is.", "label": "IR"},
                           {"text": "Ada was old.", "label": "Not-supported"}],
    "model-atomic-facts": [{"text": "Ada was English."}],
}  # fmt: skip


def test_plain_responses(tmp_path):
    path = write(tmp_path / "a.jsonl", {"topic": " Ada ", "output": "x"}, "",
                 {"topic": "Bea", "output": None})  # fmt: skip
    first, second = read_responses(path)
    assert (first.topic, first.text, first.facts, first.abstained) == ("Ada", "x", None, None)
    assert second.text == ""
    assert len(read_responses(path, limit=1)) == 1


def test_labelled_data(tmp_path):
    rows = ({"topic": "Ada", "output": "x", "annotations": [SENTENCE]},
            {"topic": "Bea", "output": "I'm sorry", "annotations": None})  # fmt: skip
    path = write(tmp_path / "a.jsonl.gz", *rows)
    people, abstained = read_responses(path)
    assert people.facts == (GivenFact("Ada was English.", True),
                            GivenFact("England is.", None, irrelevant=True),
                            GivenFact("Ada was old.", False))  # fmt: skip
    assert abstained.abstained and abstained.facts is None
    assert read_responses(path, labels="model")[0].facts == (GivenFact("Ada was English."),)


@pytest.mark.parametrize("key", ["ChatGPT_labels", "ChatGPT_Labels"])
def test_predictions_with_either_spelling_of_the_labels(tmp_path, key):
    row = {"prompt": "Question: Tell me a bio of Ada Lovelace.", "facts": ["a b", "c d"],
           "LLAMA+NP_labels": ["NS", "NS"], key: ["S", "NS"]}  # fmt: skip
    [response] = read_responses(write(tmp_path / "p.jsonl", row), labels="ChatGPT")
    assert response.topic == "Ada Lovelace"
    assert [fact.supported for fact in response.facts] == [True, False]
    [response] = read_responses(tmp_path / "p.jsonl")
    assert [fact.supported for fact in response.facts] == [False, False]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"output": "x"}, "no 'topic'"), ({"topic": "Ada"}, "no 'output'"), ([1], "no JSON object"),
        ("{", "line 1"), ({"topic": "A", "facts": ["a"], "X_labels": []}, "1 facts, but 0 labels"),
        ({"topic": "A", "facts": ["a"], "X_labels": ["Q"]}, "none of S, NS, IR"),
    ],
)  # fmt: skip
def test_lines_that_are_no_responses(tmp_path, row, why):
    with pytest.raises(LacyError, match=rf"E225(?s:.*){why}"):
        read_responses(write(tmp_path / "a.jsonl", row))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(LacyError, match="E13"):
        read_responses(tmp_path / "missing.jsonl")
    with pytest.raises(LacyError, match=r"E225.*empty"):
        read_responses(write(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(LacyError, match=r"E225.*cannot be read"):
        read_responses(tmp_path / "b.jsonl.gz")
