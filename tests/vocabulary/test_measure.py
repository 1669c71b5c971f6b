"""What a vocabulary covers of held-out outputs, against a slow count with the tailored head."""

import pytest
import torch

from helpers.models import ALL, TEXTS, gpt2, llama
from lacy.errors import LacyError
from lacy.model import Loaded
from lacy.vocabulary import measure_vocabulary, tailor, task_vocabulary
from lacy.vocabulary.tokens import protected_ids

TOKENIZER = ALL["byte_level"]
SMALL = task_vocabulary(TOKENIZER, [("", "Ulm and Zürich, physics")], tolerance=0)
PAIRS = [
    ("Mara Vell was born", " in Ulm on 12 March 1879."),
    ("", TEXTS[1]),
    ("He lived", " in 東京."),
]


def slowly(loaded, mode, pairs):
    """Token by token: which tokens are active, and what all logits say."""
    fixed = protected_ids(TOKENIZER) if mode in ("dynamic", "context") else set(SMALL.ids)
    rows = []
    for given, output in pairs:
        ids = [0, *TOKENIZER(given + output, add_special_tokens=False)["input_ids"]]
        start = 1 + len(TOKENIZER(given, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids])).logits[0].double()[:, :-1]
        for place in range(start, len(ids)):
            active = set(fixed) | (set() if mode == "static" else set(ids[:place]))
            p = logits[place - 1].softmax(-1)
            inside = sum(float(p[n]) for n in active if n < len(p))
            rows.append([len(active), int(p.argmax()) in active, ids[place] in active, 1 - inside])
    return torch.tensor(rows, dtype=torch.float64).mean(0).tolist(), len(rows)


@pytest.mark.parametrize("mode", ["static", "dynamic", "hybrid", "context"])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_figures_equal_a_slow_count(mode, make):
    loaded = Loaded(make(TOKENIZER).model, TOKENIZER)
    vocabulary = SMALL if mode in ("static", "hybrid") else None
    found = measure_vocabulary(loaded, PAIRS, vocabulary, mode)
    (active, best, target, mass), positions = slowly(loaded, mode, PAIRS)
    assert found.positions == positions
    assert found.active.value == pytest.approx(active)
    assert found.share.value == pytest.approx(active / len(TOKENIZER))
    assert found.best_inside.value == pytest.approx(best)
    assert found.target_inside.value == pytest.approx(target)
    assert found.mass_outside.value == pytest.approx(mass, abs=1e-5)
    assert found.kl.value > 0 and found.kl.n == len(PAIRS)
    # A row that would win is always among those that the fallback computes.
    assert found.fallbacks.value >= 1 - found.best_inside.value - 1e-9
    assert found.checked.value >= found.fallbacks.value


def test_the_fallback_rate_is_that_of_generation():
    """The first new token of each prefix: measured in one pass, and as the head does it."""
    loaded = Loaded(llama(TOKENIZER).model, TOKENIZER)
    found = measure_vocabulary(loaded, [("", TEXTS[0])], SMALL, "static")
    tailored = tailor(loaded, SMALL, "static")
    ids = [0, *TOKENIZER(TEXTS[0], add_special_tokens=False)["input_ids"]]
    for length in range(1, len(ids)):
        with torch.no_grad():
            loaded.model(torch.tensor([ids[:length]]), logits_to_keep=1)
    assert tailored.use.steps == found.positions
    assert tailored.use.fallback_rate == pytest.approx(found.fallbacks.value)
    assert tailored.use.checked / tailored.use.steps == pytest.approx(found.checked.value)
    outside = tailored.use.outside / tailored.use.steps
    assert outside == pytest.approx(1 - found.best_inside.value)


def test_long_outputs_are_cut_and_empty_ones_are_an_error():
    loaded = Loaded(llama(TOKENIZER).model, TOKENIZER)
    assert measure_vocabulary(loaded, [("", TEXTS[0])], tokens=3).positions == 3
    with pytest.raises(LacyError, match="E272"):
        measure_vocabulary(loaded, [("Mara", "")])
