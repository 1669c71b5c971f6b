"""Toy decisions whose answers are words of the state, for tests of heads."""

import json
import random

from lacy.decide import known_decision

FRUIT = ("cake", "garden", "song", "cat")
FILLER = "the a how to do you make my please tell me of is".split()


def toy_rows(count, seed=0, source="toy"):
    """Decisions about which word a state contains, whether it contains one, and how many times."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        word = chance.choice(FRUIT)
        times = chance.randrange(1, 3)
        words = chance.choices(FILLER, k=4) + [word] * times
        chance.shuffle(words)
        asked = chance.choice(FRUIT)
        row = {"state": " ".join(words), "source": source} | [
            {"question": "which is it", "type": "choice", "answer": word,
             "options": chance.sample(FRUIT, 4)},
            {"question": asked, "type": "noul", "answer": "yes" if asked == word else "no"},
            {"question": "how", "type": "score", "answer": FRUIT.index(word),
             "options": list(FRUIT)},
        ][number % 3]  # fmt: skip
        rows.append(row)
    return rows


def toy_decisions(count, seed=0, source="toy"):
    """The same as ``KnownDecision``."""
    return [known_decision(row) for row in toy_rows(count, seed, source)]


def write_decisions(folder):
    """Write decisions of two sources."""
    for name, seed in (("decisions", 0), ("others", 1)):
        lines = "".join(json.dumps(row) + "\n" for row in toy_rows(120, seed, name))
        (folder / f"{name}.jsonl").write_text(lines)
