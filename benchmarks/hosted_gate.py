"""Measure what a separate gate loses when llama.cpp computes the model, at several precisions.

    python benchmarks/hosted_gate.py MODEL TEXTS.jsonl --articles 100

MODEL is a folder with a separate gate (``lacy_gate: sigmoid``), TEXTS has marks
(``[start, end, reason]``). The model is exported at each precision (the shared vector is fitted on
texts of a made-up world) and served by xllamacpp. Parts:

- ``positions``: at every ``--every``-th position of each article, the server reports the gate and
  the likelihood of the true token: AUROC at value starts, agreement of the decisions at the
  model's own threshold and at equal rates (9%, 22%) with the model in process (fp32), share of
  positions where the rows are not among the 20 likeliest, language loss.
- ``folded``: the alternative without a second row: one row that competes in the softmax at a
  calibrated bias (``scale * w + c``), computed in process; agreement at equal rates.
- ``choices``: at the first value starts of each article, the choice among its values by
  likelihood, through HTTP and in process, and the time of each.

Intervals: 95%, articles resampled. Writes ``results/hosted_gate.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from llama_server import llama_server

RESULTS = Path(__file__).parent / "results"
RATES = (0.09, 0.22)


def read_articles(path, tokenizer, count, length):
    """Return ids, value starts and values of articles, cut to ``length`` tokens."""
    from lacy.annotate import encode
    from lacy.corpus import read
    from lacy.types import MarkFlag

    found = []
    for document in read(path, limit=count):
        encoded = encode(document, tokenizer)
        ids = list(encoded.input_ids[:length])
        starts = [bool(m & MarkFlag.START) for m in encoded.marks[:length]]
        end = len(tokenizer.decode(ids, skip_special_tokens=True))
        values = [document.text[m.start : m.end] for m in document.marks if m.end <= end]
        found.append((ids, starts, list(dict.fromkeys(values))))
    return found


def in_process(loaded, articles):
    """Return logits of the gate, true-token log-probabilities and hidden states, by article."""
    import torch

    from lacy.model import head_weight, hidden_states

    head = head_weight(loaded.model)
    rows = []
    for ids, _, _ in articles:
        with torch.inference_mode():
            hidden = hidden_states(loaded.model, torch.tensor([ids[:-1]]))[0]
            logits = hidden @ head.T
            text = logits[:, :-1].log_softmax(-1)
            true = text[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            best = logits[:, :-1].amax(-1)
        rows.append((logits[:, -1].numpy(), true.numpy(), hidden.float(), best.numpy()))
    return rows


async def over_http(server, articles, every):
    """Return, by article: positions, the gate (NaN if not reported) and log-probabilities."""
    from lacy.cascade.hosted_scores import _spoken, margin_of
    from lacy.cascade.hosted_server import FORCED, HostedToken

    rows = []
    for ids, _, _ in articles:
        places = list(range(every - 1, len(ids) - 1, every))
        gate, logp = [], []
        for n in places:
            bias = {"logit_bias": {str(ids[n + 1]): FORCED}}
            choice = await server._complete({**server._scoring_body(ids[: n + 1]), **bias})
            (step,) = server._tokens_of(choice)[:1] or [HostedToken(-1)]
            if ids[n + 1] not in step.top:  # llama.cpp reports no part of a character
                gate.append(np.nan)
                logp.append(np.nan)
                continue
            seen = all(token in step.top for token in server.unspoken)
            gate.append(margin_of(step, *server.unspoken) if seen else np.nan)
            logp.append(step.top[ids[n + 1]] - _spoken(step, server))
        rows.append((places, np.array(gate), np.array(logp)))
    return rows


def auroc(score, label):
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    positive = label.sum()
    return (ranks[label].sum() - positive * (positive + 1) / 2) / (
        positive * (len(label) - positive)
    )


def interval(parts, value, seed=0):
    """Return a value over all articles with its 95% interval."""
    draws = np.random.default_rng(seed).integers(0, len(parts), (500, len(parts)))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    again = [
        value(*(np.concatenate(c) for c in zip(*(parts[n] for n in d), strict=True))) for d in draws
    ]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    return [round(float(v), 4) for v in (value(*joined), low, high)]


def same_decisions(rate=None, limit=0.0):
    def value(mine, theirs):
        a, b = (
            (limit, limit) if rate is None else (np.quantile(x, 1 - rate) for x in (mine, theirs))
        )
        return float(((mine > a) == (theirs > b)).mean())

    return value


def compared(articles, mine, theirs):
    """Return the figures of one precision."""
    parts, labels = [], []
    for (_, starts, _), (gate, true, _, _), (places, found, logp) in zip(
        articles, mine, theirs, strict=True
    ):
        lowest = np.where(np.isnan(found), -30.0, found)
        parts.append((gate[places], lowest, np.isnan(found), true[places], logp))
        labels.append(np.array(starts[1:])[places])
    both = [(p[0], p[1]) for p in parts]
    gates = [(p[1], label) for p, label in zip(parts, labels, strict=True)]
    own = [(p[0], label) for p, label in zip(parts, labels, strict=True)]
    seen = np.concatenate([p[2] for p in parts])
    gap = np.concatenate([(p[1] - p[0])[~p[2]] for p in parts])
    return {
        "positions": len(seen),
        "articles": len(parts),
        "not_reported": float(seen.mean()),
        "gate_difference_mean_and_largest": [float(np.abs(gap).mean()), float(np.abs(gap).max())],
        "auroc_in_process": interval(own, auroc),
        "auroc": interval(gates, auroc),
        "same_decision_threshold_0": interval(both, same_decisions()),
        **{f"same_decision_rate_{r}": interval(both, same_decisions(r)) for r in RATES},
        "loss_in_process": interval([(p[3],) for p in parts], lambda x: float(-x.mean())),
        "loss": interval([(p[4],) for p in parts], lambda x: float(-np.nanmean(x))),
        "loss_added": interval(
            [(p[3], p[4]) for p in parts], lambda a, b: float(np.nanmean(a - b))
        ),
    }


def folded(loaded, articles, mine):
    """Return how often one competing row decides as the gate does, at equal rates."""
    from lacy.model.gguf_gate import gate_rows

    call, shared = gate_rows(loaded)
    found = {}
    for scale in (0.0, 1.0, 4.0, 16.0):
        row = scale * (call - shared) + shared
        parts = [(g, h.numpy() @ row - best) for g, _, h, best in mine]
        labels = [np.array(starts[1:]) for _, starts, _ in articles]
        found[f"scale_{scale:g}"] = {
            **{f"same_decision_rate_{r}": interval(parts, same_decisions(r)) for r in RATES},
            "auroc": interval([(p[1], x) for p, x in zip(parts, labels, strict=True)], auroc),
        }
    plain = [(g, g - best) for g, _, _, best in mine]
    found["the_gate's_row_itself_competes"] = {
        f"same_decision_rate_{r}": interval(plain, same_decisions(r)) for r in RATES
    }
    return found


def choices(loaded, hosted, articles, count):
    """Return how often the choice among an article's values is the same, and seconds per choice."""
    from lacy.cascade.hosted_scores import log_likelihood
    from lacy.corpus import TokenText
    from lacy.model import Decoder

    text, same, seconds = TokenText(loaded.tokenizer), [], [0.0, 0.0]
    server = hosted.server
    for ids, starts, values in articles:
        places = [n for n in range(16, len(ids) - 1) if starts[n + 1]][:2]
        options = [text.encode_continuation(" " + value) for value in values[:8]]
        for n in places:
            begin = time.perf_counter()
            decoder = Decoder(loaded.model, call_id=loaded.call_id)
            decoder.feed([ids[: n + 1]])
            mine = decoder.score([0], [options], whole=True)[0]
            seconds[0] += time.perf_counter() - begin
            begin = time.perf_counter()
            jobs = [(ids[: n + 1], tokens, False) for tokens in options]
            told = server.run(server.score_texts(jobs))
            theirs = [
                log_likelihood(t, o, server, None) for t, o in zip(told, options, strict=True)
            ]
            seconds[1] += time.perf_counter() - begin
            same.append((int(np.argmax(mine)) == int(np.argmax(theirs)), len(options)))
            if len(same) >= count:
                break
        if len(same) >= count:
            break
    return {
        "choices": len(same),
        "same": float(np.mean([s for s, _ in same])),
        "candidates": float(np.mean([k for _, k in same])),
        "seconds_in_process_with_prompt": seconds[0] / len(same),
        "seconds_http": seconds[1] / len(same),
    }


def main():
    import torch

    from lacy.cascade import connect
    from lacy.model import load_model, write_gguf

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--articles", type=int, default=100)
    parser.add_argument("--length", type=int, default=160, help="tokens of each article")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--choices", type=int, default=40)
    parser.add_argument("--precisions", nargs="+", default=["f16", "q8_0", "q4_1"])
    parser.add_argument("--out", type=Path, default=RESULTS / "hosted_gate.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    loaded = load_model(args.model)
    articles = read_articles(args.texts, loaded.tokenizer, args.articles, args.length)
    mine = in_process(loaded, articles)
    result = {"folded": folded(loaded, articles, mine), "precisions": {}}
    print(json.dumps(result, indent=1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for precision in args.precisions:
            path = write_gguf(loaded, Path(folder) / f"{precision}.gguf", precision)
            with llama_server(path, args.length + 40) as url:
                hosted = connect(f"{url}/v1", "", args.model)
                theirs = hosted.server.run(over_http(hosted.server, articles, args.every))
                found = {"bytes": path.stat().st_size, **compared(articles, mine, theirs)}
                found["choices"] = choices(loaded, hosted, articles, args.choices)
            result["precisions"][precision] = found
            print(precision, json.dumps(found, indent=1), flush=True)
            path.unlink()
            result["setup"] = {
                "machine": platform.platform(), "cores": os.cpu_count(), "threads": 1,
                "torch": torch.__version__, "xllamacpp": version("xllamacpp"),
                "model": args.model.name, "length": args.length, "every": args.every, "seed": 0,
                "load_average": os.getloadavg(), "seconds": time.perf_counter() - begin,
            }  # fmt: skip
            args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
