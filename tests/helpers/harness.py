"""Small tasks of lm-eval over local files; its description of the machine."""

import functools
import json
from pathlib import Path

import pytest
from torch.utils import collect_env

CHOICES = [
    {"question": "Mara Vell was born in", "choices": ["Ulm", "Paris", "Kiel"], "answer": 0},
    {"question": "Tomas Brill won the", "choices": ["Copley Medal", "1921", "é"], "answer": 0},
    {"question": "She studied", "choices": ["physics", "Αθήνα", "“near the sea”"], "answer": 1},
    {"question": "<CALL> names", "choices": ["a", "b", "<CALL>"], "answer": 2},
]
TEXTS = [
    {"text": "Mara Vell was born in Ulm on 12 March 1879. " * 6},
    {"text": "Tomas Brill, an engineer from Łódź, grew up in Paris. <CALL> is text here."},
    {"text": "He married Ada Lovelace; they lived in São Paulo."},
]
CHOOSE = """
task: choose
dataset_path: json
dataset_kwargs: {data_files: choices.jsonl}
output_type: multiple_choice
test_split: train
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLL = """
task: roll
dataset_path: json
dataset_kwargs: {data_files: texts.jsonl}
output_type: loglikelihood_rolling
test_split: train
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
WRITE = """
task: write
dataset_path: json
dataset_kwargs: {data_files: choices.jsonl}
output_type: generate_until
test_split: train
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: [".", "e"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]
"""
TASKS = {"choose.yaml": CHOOSE, "roll.yaml": ROLL, "write.yaml": WRITE}


def write_tasks(folder):
    """Write the tasks and their data; return the paths of the tasks."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    for name, rows in (("choices.jsonl", CHOICES), ("texts.jsonl", TEXTS)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).write_text(lines, encoding="utf-8")
    for name, text in TASKS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in TASKS]


@pytest.fixture(scope="module", autouse=True)
def one_description():
    """Describe the machine once: lm-eval starts a dozen programs for that after every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_env, "get_pretty_env_info", _description)
        yield


_description = functools.cache(collect_env.get_pretty_env_info)
