"""Toy prompts and answers, for tests of safety classifiers."""

import json
import random

from helpers.encoders import write_bert
from lacy.safety import LabelledText

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the a how to do you make my please tell me of is bomb poison "
    "steal kill cake garden song cat sure here sorry no first mix then wait . , ?"
)
BAD, GOOD = ("bomb", "poison", "steal", "kill"), ("cake", "garden", "song", "cat")
FILLER = "the a how to do you make my please tell me of is".split()


def toy_texts(count, seed=0, source="toy"):
    """Prompts and answers that are harmful if they contain one of four words."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        harmful = number % 2 == 0
        words = chance.choices(FILLER, k=chance.randint(1, 5))
        words.insert(chance.randrange(len(words)), chance.choice(BAD if harmful else GOOD))
        prompt = " ".join(chance.choices(FILLER, k=3)) if number % 3 == 0 else None
        found.append(LabelledText(" ".join(words), harmful, source, prompt, f"{source}:{number}"))
    return found


def write_toys(folder):
    """Write an encoder, labelled texts of two sources, and preference pairs."""
    (folder / "encoder").mkdir()
    write_bert(folder / "encoder", WORDS, positions=100)
    for name, seed in (("labelled", 0), ("other", 9)):
        rows = [{"text": one.text, "label": int(one.harmful), "id": one.id, "source": name,
                 **({} if one.prompt is None else {"prompt": one.prompt})}
                for one in toy_texts(80, seed)]  # fmt: skip
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    pairs = [{"prompt": one.text, "chosen": "first mix", "rejected": "no", "id": one.id}
             for one in toy_texts(6, 3)]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
