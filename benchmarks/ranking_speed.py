"""Time and memory for scoring candidates; part of ``ranking.py``.

Sides: ``trees`` (``Decoder.score``: one pass over the text's cache, candidates as a tree), ``rows``
(the same with a row per candidate over copies of the cache), ``naive`` (one pass over text and
candidate for each, without a cache). Every round runs all sides in random order. Figures are
medians of CPU time, with intervals of the paired ratios.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from ranking_models import the_world

from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.model import Decoder, decode, load_model

COUNTS = (2, 4, 8, 16, 32, 64)
LENGTHS = (32, 128, 224)
SIZES = ("demo", "3m")
ROUNDS = 11


def trees(decoder: Decoder, candidates: list[list[int]]) -> list[float]:
    return decoder.score([0], [candidates], whole=True)[0]


def rows(decoder: Decoder, candidates: list[list[int]]) -> list[float]:
    with mock.patch.object(decode, "takes_trees", lambda model: False):
        return decoder.score([0], [candidates], whole=True)[0]


@torch.inference_mode()
def naive(decoder: Decoder, candidates: list[list[int]]) -> list[float]:
    before, found = decoder.tokens_BT[0], []
    for tokens in candidates:
        ids = torch.tensor([before + tokens])
        output = decoder.model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens) + 1)
        logits_TV = output.logits[0].float()
        everything = torch.logsumexp(logits_TV[-1], -1)
        if decoder.call_id is not None:
            logits_TV[:, decoder.call_id] = -torch.inf
        logp_TV = torch.log_softmax(logits_TV[:-1], -1)
        logp = logp_TV[range(len(tokens)), tokens].sum()
        found.append(float(logp + torch.logsumexp(logits_TV[-1], -1) - everything))
    return found


SIDES: dict[str, Callable[[Decoder, list[list[int]]], list[float]]] = {
    "trees": trees, "rows": rows, "naive": naive,
}  # fmt: skip


def prepared(folder: Path, count: int, length: int, seed: int = 0) -> tuple[Decoder, list]:
    """Return a decoder that has read a text, and values of the world as candidates."""
    loaded = load_model(folder)
    text = TokenText(loaded.tokenizer)
    world = the_world(seed, 60)
    rng = random.Random(f"{count}/{length}/{seed}")
    values = sorted({value for person in world.everyone for value in person.facts.values()})
    words = " ".join(d.text for d in world.documents("valid"))
    decoder = Decoder(loaded.model, call_id=call_id_of(loaded))
    begin = begin_end(loaded.tokenizer)[0]
    decoder.feed([[begin, *text.encode(words)][:length]])
    return decoder, [text.encode_continuation(f" {v}") for v in rng.sample(values, count)]


def measure(folders: Mapping[str, Path], *, smoke: bool = False) -> list[dict]:
    """Return milliseconds per call of every side, by size, text length and number of candidates."""
    found = []
    for size in [size for size in SIZES if size in folders] or list(folders)[:1]:
        for length in LENGTHS[:1] if smoke else LENGTHS:
            for count in COUNTS[:2] if smoke else COUNTS:
                row = {"size": size, "length": length, "k": count}
                found.append(row | timed(folders[size], count, length, 2 if smoke else ROUNDS))
        if not smoke:
            for side in SIDES:
                found[-1][f"{side}_mib"] = memory(folders[size], side)
    return found


def timed(folder: Path, count: int, length: int, rounds: int) -> dict:
    """Return medians, and ratios of the other sides to ``trees`` with intervals."""
    decoder, candidates = prepared(folder, count, length)
    scores = {name: side(decoder, candidates) for name, side in SIDES.items()}
    gap = max(np.abs(np.subtract(scores["trees"], scores[name])).max() for name in SIDES)
    assert gap < 1e-3, f"the sides differ by {gap}"
    order, rng, spent = list(SIDES), random.Random(0), {name: [] for name in SIDES}
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            begin = time.process_time()
            SIDES[name](decoder, candidates)
            spent[name].append(1000 * (time.process_time() - begin))
    found = {f"{name}_ms": float(np.median(ms)) for name, ms in spent.items()}
    draws = np.random.default_rng(0).integers(rounds, size=(2000, rounds))
    for name in ("rows", "naive"):
        ratios = np.divide(spent[name], spent["trees"])
        low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
        found |= {f"{name}_ratio": float(np.median(ratios)), f"{name}_low": float(low),
                  f"{name}_high": float(high)}  # fmt: skip
    return found | {"rounds": rounds, "tokens": sum(map(len, candidates))}


def memory(folder: Path, side: str) -> float:
    """Return the increase of peak memory in one call, in MiB, measured in a new process."""
    command = [sys.executable, __file__, str(folder), side]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def rise(folder: str, side: str) -> float:
    torch.set_num_threads(1)
    decoder, candidates = prepared(Path(folder), COUNTS[-1], LENGTHS[-1])
    trees(decoder, candidates[:1])  # the first call also loads kernels
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak (Linux)
    before = peak()
    SIDES[side](decoder, candidates)
    return round(peak() - before, 1)


def peak() -> float:
    """Return the highest resident size of this process, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    print(rise(*sys.argv[1:]))
