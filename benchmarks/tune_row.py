r"""Measure what the row of ``lacy tune`` finds, and where its defaults come from.

    OMP_NUM_THREADS=1 python benchmarks/tune_row.py smollm2 --states DIR \
        --fit ARTICLES.jsonl --valid OTHERS.jsonl

Both files contain marked articles (``lacy.corpus.write_documents``) of different people. Rows are
fitted on the first articles of ``--fit`` and scored on all of ``--valid``. Parts:

- ``articles``: the gate and its controls by the number of fitted articles;
- ``penalty``: C of the regression;
- ``weights``: value starts as heavy as all other tokens, or as they are;
- ``bias``: a row without a bias, with one, and with one that is folded into the row;
- ``layer``: hidden states of other layers, and the mean and all of three (``--layer-articles`` of
  each file, because all layers are computed);
- ``mlp``: a small MLP on the last hidden states;
- ``misses``: first mentions of which the model's likeliest token is wrong: rows fitted on value
  starts and on misses, entropy, and both;
- ``kind``: value starts of each kind.

One row per part, setting and signal goes to ``results/tune_row.csv``, with 95% intervals over the
articles of ``--valid``; conditions are in ``results/tune_row.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from lacy.annotate import encode
from lacy.corpus import read
from lacy.model import bf16_is_fast, load_model, model_fingerprint
from lacy.results import auroc
from lacy.run import environment
from lacy.tune.figures import gate_calibration, kind_figures, signal_figures, split_by_article
from lacy.tune.gate import fit_linear, fit_row, folds
from lacy.tune.misses import first_mentions
from lacy.tune.mixture import fit_gate_entropy
from lacy.tune.states import States, read_states

RESULTS = Path(__file__).parent / "results"
COUNTS = (20, 50, 100, 200, 400)
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
DEFAULT = 0.01
MLP_UNITS = 64


def first(table: States, articles: int) -> np.ndarray:
    return np.flatnonzero(table.article_N < articles)


class Bench:
    """Two tables of states, and the rows of results."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.rows = args, []
        self.loaded = load_model(args.model)
        self.loaded.model.eval()
        self.bf16, _ = bf16_is_fast(torch.device("cpu"))
        self.encoded = {
            name: [
                encode(document, self.loaded.tokenizer, args.tokens + 1)
                for document in islice(read(getattr(args, name)), getattr(args, f"{name}_articles"))
            ]
            for name in ("fit", "valid")
        }
        begin = time.perf_counter()
        tables = {
            name: read_states(
                self.loaded.model, articles, args.states, bf16=self.bf16,
                fingerprint=model_fingerprint(self.loaded.model),
            )[0]
            for name, articles in self.encoded.items()
        }  # fmt: skip
        self.seconds = time.perf_counter() - begin
        self.fit, self.valid = tables["fit"], tables["valid"]
        embedding_VD = self.loaded.model.get_input_embeddings().weight.detach().numpy()
        self.words = {
            name: {
                "last word": lambda rows, t=t: embedding_VD[t.input_N[rows]],
                "last two words": lambda rows, t=t: np.concatenate(
                    [embedding_VD[t.input_N[rows]], embedding_VD[t.previous_N[rows]]], 1
                ),
            }
            for name, t in tables.items()
        }

    def add(self, part: str, setting: str, signal: str, values_N, due_N=None, *, gate=False):
        """Measure a signal on the articles of --valid."""
        due_N = self.valid.is_start if due_N is None else due_N
        found = signal_figures(np.asarray(values_N, float), due_N, self.valid.article_N)
        line = {"part": part, "setting": setting, "signal": signal}
        line |= {"auroc": found.auroc.value, "low": found.auroc.low, "high": found.auroc.high}
        for at in found.at:
            line[f"recall_{at.rate:g}"] = at.recall.value
            line[f"recall_{at.rate:g}_low"] = at.recall.low
            line[f"recall_{at.rate:g}_high"] = at.recall.high
        if gate:
            error = gate_calibration(values_N, due_N, self.valid.article_N).error
            line |= {"ece": error.value, "ece_low": error.low, "ece_high": error.high}
        self.rows.append(line | {"articles": found.auroc.n, "due": int(due_N.sum())})
        print(part, setting, signal, found.auroc, flush=True)

    def scores(self, rows: np.ndarray, due_N: np.ndarray, penalty: float = DEFAULT) -> np.ndarray:
        """Fit a row and return its scores on the articles of --valid."""
        return self.valid.hidden_ND @ fit_row(self.fit.hidden_ND[rows], due_N[rows], penalty)

    def articles(self) -> None:
        """Measure the learning curve."""
        everything = np.arange(len(self.valid))
        self.add("articles", "0", "entropy", self.valid.entropy_N)
        for count in COUNTS:
            if count > len(self.encoded["fit"]):
                break
            rows, start_N = first(self.fit, count), self.fit.is_start
            self.add("articles", str(count), "gate", self.scores(rows, start_N), gate=True)
            for name in self.words["fit"]:
                score = fit_linear(self.words["fit"][name](rows), start_N[rows], DEFAULT)
                self.add("articles", str(count), name, score(self.words["valid"][name](everything)))

    def penalty(self) -> None:
        """Measure C."""
        rows = first(self.fit, self.args.default_articles)
        for penalty in PENALTIES:
            values_N = self.scores(rows, self.fit.is_start, penalty)
            self.add("penalty", f"{penalty:g}", "gate", values_N, gate=True)

    def weights(self) -> None:
        """Measure class weights."""
        from sklearn.linear_model import LogisticRegression

        rows = first(self.fit, self.args.default_articles)
        scale_D = self.fit.hidden_ND[rows].std(0)
        for name, weights in (("as they are", None), ("balanced", "balanced")):
            fitted = LogisticRegression(
                C=DEFAULT, fit_intercept=False, max_iter=1000, class_weight=weights
            ).fit(self.fit.hidden_ND[rows] / scale_D, self.fit.is_start[rows])
            values_N = self.valid.hidden_ND @ (fitted.coef_[0] / scale_D)
            self.add("weights", name, "gate", values_N, gate=True)

    def bias(self) -> None:
        """Measure rows with and without a bias."""
        from sklearn.linear_model import LogisticRegression

        rows = first(self.fit, self.args.default_articles)
        hidden_ND, due_N = self.fit.hidden_ND[rows], self.fit.is_start[rows]
        self.add("bias", "none", "gate", self.scores(rows, self.fit.is_start), gate=True)
        mean_D, scale_D = hidden_ND.mean(0), hidden_ND.std(0)
        fitted = LogisticRegression(C=DEFAULT, max_iter=1000).fit(
            (hidden_ND - mean_D) / scale_D, due_N
        )
        row_D = fitted.coef_[0] / scale_D
        bias = float(fitted.intercept_[0] - row_D @ mean_D)
        self.add("bias", "own", "gate", self.valid.hidden_ND @ row_D + bias, gate=True)
        # the direction v with hidden @ v = 1 as nearly as possible
        ridge = 1e-3 * len(hidden_ND) * np.diag(scale_D.astype(float) ** 2)
        v_D = np.linalg.solve(
            hidden_ND.T.astype(float) @ hidden_ND + ridge, hidden_ND.sum(0, dtype=float)
        )
        values_N = self.valid.hidden_ND @ (row_D + bias * v_D)
        self.add("bias", "folded", "gate", values_N, gate=True)

    def raw(self) -> None:
        """States that are not divided by their standard deviations."""
        from sklearn.linear_model import LogisticRegression

        rows = first(self.fit, self.args.default_articles)
        fitted = LogisticRegression(C=DEFAULT, fit_intercept=False, max_iter=1000).fit(
            self.fit.hidden_ND[rows], self.fit.is_start[rows]
        )
        self.add("scaling", "none", "gate", self.valid.hidden_ND @ fitted.coef_[0], gate=True)

    def layer(self) -> None:
        """Measure layers and an MLP."""
        count = self.args.layer_articles
        parts = {}
        for name, table in (("fit", self.fit), ("valid", self.valid)):
            rows = first(table, count)
            parts[name] = (rows, self.layers(self.encoded[name][:count]))
        (rows, fit), (kept, valid) = parts["fit"], parts["valid"]
        due_N, truth_N = self.fit.is_start[rows], self.valid.is_start[kept]
        article_N = self.valid.article_N[kept]
        names = sorted(fit, key=int)
        some = [names[0], names[len(names) // 2], names[-1]]
        features = {f"layer {n}": (fit[n], valid[n]) for n in some}
        features["last, after the norm"] = self.fit.hidden_ND[rows], self.valid.hidden_ND[kept]
        features["mean of three"] = tuple(
            np.mean([side[n] / fit[n].std() for n in some], 0) for side in (fit, valid)
        )
        features["three together"] = tuple(
            np.concatenate([side[n] for n in some], 1) for side in (fit, valid)
        )
        for name, (left, right) in features.items():
            values_N = fit_linear(left, due_N, DEFAULT)(right)
            self.add_layer(name, values_N, truth_N, article_N)

    def mlp(self) -> None:
        """Measure a small MLP on the last hidden states."""
        from sklearn.neural_network import MLPClassifier

        rows = first(self.fit, self.args.default_articles)
        hidden_ND, due_N = self.fit.hidden_ND[rows], self.fit.is_start[rows]
        mean_D, scale_D = hidden_ND.mean(0), hidden_ND.std(0)
        fitted = MLPClassifier(
            (MLP_UNITS,), alpha=1.0, early_stopping=True, random_state=0, max_iter=30
        ).fit((hidden_ND - mean_D) / scale_D, due_N)
        p_N = fitted.predict_proba((self.valid.hidden_ND - mean_D) / scale_D)[:, 1]
        p_N = p_N.astype(float).clip(1e-12, 1 - 1e-12)
        self.add("mlp", "row", "gate", self.scores(rows, self.fit.is_start), gate=True)
        self.add("mlp", f"MLP of {MLP_UNITS} units", "gate", np.log(p_N / (1 - p_N)), gate=True)

    def add_layer(self, setting, values_N, truth_N, article_N) -> None:
        """Measure a signal on the articles of which all layers are computed."""
        score = auroc(split_by_article(values_N, article_N), split_by_article(truth_N, article_N))
        line = {"part": "layer", "setting": setting, "signal": "gate", "auroc": score.value}
        line |= {"low": score.low, "high": score.high, "articles": score.n}
        self.rows.append(line | {"due": int(truth_N.sum())})
        print("layer", setting, score, flush=True)

    @torch.inference_mode()
    def layers(self, articles) -> dict[str, np.ndarray]:
        """Return the hidden states after every tenth layer and the last, in the order of tokens."""
        found: dict[str, list[np.ndarray]] = {}
        for article in articles:
            ids = torch.tensor([article.input_ids[:-1]])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                states = self.loaded.model.base_model(
                    input_ids=ids, output_hidden_states=True, use_cache=False
                ).hidden_states
            wanted = {*range(10, len(states) - 1, 10), len(states) - 2}
            for number in sorted(wanted):
                found.setdefault(str(number), []).append(states[number][0].float().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def misses(self) -> None:
        """Measure misses."""
        rows = first(self.fit, self.args.default_articles)
        missed = {
            name: table.is_start & ~table.right_N
            & first_mentions(self.encoded[name], self.loaded.tokenizer)
            for name, table in (("fit", self.fit), ("valid", self.valid))
        }  # fmt: skip
        truth_N = missed["valid"]
        self.add("misses", "", "entropy", self.valid.entropy_N, truth_N)
        for target, due_N in (("value starts", self.fit.is_start), ("misses", missed["fit"])):
            gate_N = self.scores(rows, due_N)
            self.add("misses", f"row fitted on {target}", "gate", gate_N, truth_N)
            unseen_N = np.zeros(len(rows))
            for fold in folds(self.fit.article_N[rows], seed=0):
                fit = np.concatenate([fold.fit, fold.mix])
                row_D = fit_row(self.fit.hidden_ND[rows][fit], due_N[rows][fit], DEFAULT)
                unseen_N[fold.report] = self.fit.hidden_ND[rows][fold.report] @ row_D
            weights = fit_gate_entropy(unseen_N, self.fit.entropy_N[rows], missed["fit"][rows])
            both_N = weights(gate_N, self.valid.entropy_N)
            self.add("misses", f"row fitted on {target}", "gate+entropy", both_N, truth_N)

    def kind(self) -> None:
        """Measure kinds of values."""
        rows = first(self.fit, self.args.default_articles)
        signals = {"gate": self.scores(rows, self.fit.is_start), "entropy": self.valid.entropy_N}
        for name in self.words["fit"]:
            score = fit_linear(self.words["fit"][name](rows), self.fit.is_start[rows], DEFAULT)
            signals[name] = score(self.words["valid"][name](np.arange(len(self.valid))))
        found = kind_figures(signals, self.valid.marks_N, self.valid.article_N)
        for kind, scores in found.items():
            for name, score in scores.items():
                line = {"part": "kind", "setting": kind, "signal": name, "auroc": score.value}
                self.rows.append(line | {"low": score.low, "high": score.high, "articles": score.n})
                print("kind", kind, name, score, flush=True)

    def precision(self) -> None:
        """A row that is fitted on bfloat16 states and read from float32 ones."""
        if not self.bf16:
            return
        articles = self.encoded["valid"][: self.args.layer_articles]
        table, _ = read_states(
            self.loaded.model, articles, self.args.states, bf16=False,
            fingerprint=model_fingerprint(self.loaded.model),
        )  # fmt: skip
        rows = first(self.fit, self.args.default_articles)
        row_D = fit_row(self.fit.hidden_ND[rows], self.fit.is_start[rows], DEFAULT)
        for name, states in (("float32", table), ("bfloat16", self.valid)):
            kept = first(states, len(articles))
            self.add_layer(
                f"row of bfloat16 states on {name} ones", states.hidden_ND[kept] @ row_D,
                states.is_start[kept], states.article_N[kept],
            )  # fmt: skip


def rounded(lines: list[dict]) -> Iterator[dict]:
    for line in lines:
        yield {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--fit", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--fit-articles", type=int, default=400)
    parser.add_argument("--valid-articles", type=int, default=180)
    parser.add_argument("--default-articles", type=int, default=200)
    parser.add_argument("--layer-articles", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--states", type=Path, required=True, help="folder of stored states")
    parser.add_argument("--parts", nargs="*", default=[
        "articles", "penalty", "weights", "bias", "raw", "misses", "kind", "layer", "mlp",
        "precision",
    ])  # fmt: skip
    args = parser.parse_args()
    bench = Bench(args)
    for part in args.parts:
        getattr(bench, part)()
    path = RESULTS / "tune_row.csv"
    measured = {line["part"] for line in bench.rows}
    kept = []
    if path.exists():  # rows of parts that were not measured now
        with open(path, encoding="utf-8", newline="") as file:
            kept = [line for line in csv.DictReader(file) if line["part"] not in measured]
    lines = [*kept, *rounded(bench.rows)]
    names = list(dict.fromkeys(name for line in lines for name in line))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)
    conditions = {
        "command": "python benchmarks/tune_row.py smollm2 --fit FIT.jsonl --valid VALID.jsonl",
        "articles": {name: len(articles) for name, articles in bench.encoded.items()},
        "tokens": {"fit": len(bench.fit), "valid": len(bench.valid)},
        "tokens_per_article": args.tokens,
        "precision": "bf16" if bench.bf16 else "fp32",
        "seed": 0,
        "interval": "95%, bootstrap over articles",
        "environment": environment(),
    }
    (RESULTS / "tune_row.json").write_text(json.dumps(conditions, indent=1) + "\n")


if __name__ == "__main__":
    main()
