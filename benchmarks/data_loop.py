"""Does the data loop help? Two rounds of serving, verdicts and tuning, on people never seen before.

    python benchmarks/data_loop.py smollm2 --fit FIT.jsonl --valid VALID.jsonl --out DIR

FIT and VALID are marked articles about different people. A weak gate is tuned on the first articles
of FIT. In each round a server continues articles about new people (their values as the source); a
simulated user checks the model's own names, numbers and dates against the article and sends
verdicts to ``/v1/feedback``; ``lacy data loop`` makes data of the records, and a row is fitted to
them and the first articles, as ``lacy tune --replay`` does. All gates are measured on true texts of
VALID, which no round uses. The arms differ in what the user says:

- ``wrong``: what the user found wrong;
- ``wrong+right``: also what the user found right;
- ``silent``: nothing: the same number of generated texts, without verdicts (the control);
- ``articles``: as many true articles instead of generated texts (no server; an upper reference).

Servings, data and gates that exist in DIR are not made again, so the script can be stopped. Writes
``results/data_loop.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import torch

from lacy.annotate import encode
from lacy.cascade import Engine
from lacy.cli import main as lacy
from lacy.cli.data.texts import text_source
from lacy.corpus import read, write_documents
from lacy.evaluate import article_prompts, default_extract, open_article_source
from lacy.evaluate.article_sources import article_subject
from lacy.evaluate.entities import ArticleText
from lacy.model import bf16_is_fast, load_model, model_fingerprint, save_model
from lacy.records import RecordLog
from lacy.run import environment
from lacy.serve import Scheduler, Server, make_app
from lacy.tune.articles import read_articles
from lacy.tune.figures import signal_figures, split_by_article
from lacy.tune.gate import fit_row
from lacy.tune.misses import first_mentions
from lacy.tune.row import install_row
from lacy.tune.states import read_states

RESULTS = Path(__file__).parent / "results"
ARMS = ("silent", "wrong", "wrong+right")
RATES = (0.09, 0.22)
TAILS = (0.025, 0.975)

INVERSE_PENALTY = 0.01
"""The default of ``lacy tune``."""


class Benchmark:
    """Files of the benchmark in one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out
        documents = list(islice(read(args.fit), args.first + 2 * args.people))
        self.first = documents[: args.first]
        people = documents[args.first :]
        self.rounds = [people[: args.people], people[args.people :]]
        self.extract = default_extract(args.pipeline)
        self.out.mkdir(parents=True, exist_ok=True)
        write_documents(self.first, self.out / "first.jsonl")

    # ------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Make all gates."""
        self.tune("round0", self.out / "first.jsonl", replay=False)
        for number, documents in enumerate(self.rounds, 1):
            articles = self.out / f"articles{number}.jsonl"
            write_documents([d for part in self.rounds[:number] for d in part], articles)
            self.tune(f"articles-round{number}", articles)
            for arm in ARMS:
                gate = "round0" if number == 1 else f"{arm}-round{number - 1}"
                logs = self.out / f"logs-{arm}"
                served = self.serve(number, gate, documents)
                self.add_records(served, logs, arm)
                data = self.out / f"loop-{arm}-{number}"
                if not data.exists():
                    self.type("data", "loop", logs, "--out", data, "--model", self.args.model,
                              "--pipeline", self.args.pipeline)  # fmt: skip
                self.tune(f"{arm}-round{number}", data)
        self.serve(2, "round0", self.rounds[1])  # what the first gate writes about the same people

    def type(self, *words: object) -> None:
        """Run a command of lacy as a user types it."""
        print("lacy", *words, flush=True)
        assert lacy([str(word) for word in words]) == 0

    def tune(self, name: str, data: Path, replay: bool = True) -> None:
        """Fit a gate as ``lacy tune --replay`` does, but without its report, unless it exists."""
        out = self.out / "gates" / name
        if out.exists():
            return
        print("tuning", name, flush=True)
        loaded = load_model(self.args.model)
        loaded.model.eval()
        found = read_articles(
            text_source(str(data)), loaded.tokenizer, articles=200, tokens=self.args.tokens,
            seed=0, marks=self.out / "states", progress=False,
            replay=self.out / "first.jsonl" if replay else None,
        )  # fmt: skip
        table = self.states(loaded, found.encoded)
        install_row(loaded, fit_row(table.hidden_ND, table.is_start, INVERSE_PENALTY))
        save_model(out, loaded.model, loaded.tokenizer, {})

    def states(self, loaded, encoded):
        """Return the hidden states of articles."""
        return read_states(
            loaded.model, encoded, self.out / "states", bf16=bf16_is_fast(torch.device("cpu"))[0],
            fingerprint=model_fingerprint(loaded.model),
        )[0]  # fmt: skip

    def serve(self, number: int, gate: str, documents: list) -> Path:
        """Serve a model that continues articles, and post a simulated user's verdicts.

        Returns:
            The folder with the server's records.
        """
        folder = self.out / "served" / f"round{number}-{gate}"
        if folder.exists():
            return folder
        print(f"serving {gate}, round {number}", flush=True)
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        prompts = article_prompts(documents, self.extract, self.args.words)
        loaded = load_model(self.out / "gates" / gate)
        if bf16_is_fast(torch.device("cpu"))[0]:
            loaded.model.to(torch.bfloat16)
        begin, sums = time.perf_counter(), np.zeros((len(documents), 6))
        with (
            open_article_source("values", documents, self.extract, prompts) as (source, _),
            RecordLog(part, texts=True) as records,
        ):
            engine = Engine(loaded, source, "threshold=0", max_new_tokens=self.args.new)
            scheduler = Scheduler(engine, streams=self.args.streams, queue=len(documents))
            server = Server(make_app(scheduler, "slm", records=records), scheduler, port=0)
            thread = threading.Thread(target=server.run)
            thread.start()
            while not server.started:
                time.sleep(0.05)
            with (
                httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=3600) as client,
                ThreadPoolExecutor(len(documents)) as pool,
            ):

                def ask(n: int) -> None:
                    sums[n] = self.use(client, documents[n], prompts[n])

                list(pool.map(ask, range(len(documents))))
            server.should_exit = True
            thread.join()
        (part / "counts.json").write_text(json.dumps(sums.tolist()))
        part.rename(folder)
        print(f"{time.perf_counter() - begin:.0f} s, {sums.sum(0).tolist()}", flush=True)
        return folder

    def use(self, client: httpx.Client, document, prompt: str) -> list[int]:
        """Request a continuation, compare the model's own entities with the article, post verdicts.

        Returns own entities, wrong ones, borrowed entities, wrong ones, calls, tokens.
        """
        body = {"model": "slm", "prompt": prompt, "lacy": {"subject": article_subject(document)}}
        got = client.post("/v1/completions", json=body).raise_for_status().json()
        [choice] = got["choices"]
        article, given = ArticleText(document.text), ArticleText(prompt)
        counts, borrowed, at = [0] * 6, [], 0
        for span in choice["lacy"]["spans"]:
            if span["speaker"] != "slm":
                borrowed.append((at, at + len(span["text"])))
            at += len(span["text"])
        [marks] = self.extract([prompt + choice["text"]])
        for mark in marks:
            start, end = mark.start - len(prompt), mark.end - len(prompt)
            value = choice["text"][max(start, 0) : max(end, 0)]
            if mark.reason == "CONTENT" or start < 0 or given.contains(value):
                continue
            right = article.contains(value)
            from_source = any(start < b and a < end for a, b in borrowed)
            counts[2 * from_source] += 1
            counts[2 * from_source + 1] += not right
            if from_source:
                continue
            verdict = {"id": got["id"], "start": start, "end": end}
            verdict["verdict"] = "right" if right else "wrong"
            client.post("/v1/feedback", json=verdict).raise_for_status()
        counts[4], counts[5] = choice["lacy"]["calls"], got["usage"]["completion_tokens"]
        return counts

    def add_records(self, served: Path, logs: Path, arm: str) -> None:
        """Copy the records of a serving, without the verdicts that this arm's users do not send."""
        target = logs / f"records-{len(list(logs.glob('*.jsonl'))) + 1:06d}.jsonl"
        if (logs / f"{served.name}.done").exists():
            return
        kept = []
        for path in sorted(served.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                what = json.loads(line).get("verdict")
                if what is None or what in arm.split("+"):
                    kept.append(line)
        logs.mkdir(exist_ok=True)
        target.write_text("".join(kept), encoding="utf-8")
        (logs / f"{served.name}.done").touch()

    # ------------------------------------------------------------------------------- measures

    def measure(self) -> dict:
        """Measure all gates on held-out articles."""
        loaded = load_model(self.args.model)
        loaded.model.eval()
        encoded = [
            encode(d, loaded.tokenizer, self.args.tokens + 1)
            for d in islice(read(self.args.valid), self.args.valid_articles)
        ]
        table = self.states(loaded, encoded)
        missed_N = table.is_start & ~table.right_N & first_mentions(encoded, loaded.tokenizer)
        rows, gates = [], {}
        for path in sorted((self.out / "gates").iterdir()):
            head_VD = load_model(path).model.get_output_embeddings().weight
            gates[path.name] = table.hidden_ND @ head_VD[-1].detach().double().numpy()
        for name, gate_N in gates.items():
            rows.append({"gate": name, **self.figures(gate_N, table, missed_N)})
            control = f"silent-{name.rpartition('-')[2]}" if "-" in name else "round0"
            if control != name:
                rows[-1]["minus_control"] = self.minus(gate_N, gates[control], table, missed_N)
                rows[-1]["control"] = control
            if name != "round0":
                rows[-1]["minus_round0"] = self.minus(gate_N, gates["round0"], table, missed_N)
        return {
            "articles": len(encoded), "tokens": len(table), "starts": int(table.is_start.sum()),
            "misses": int(missed_N.sum()), "gates": rows,
        }  # fmt: skip

    def figures(self, gate_N, table, missed_N) -> dict:
        """Return AUROC and misses found, with intervals over articles."""
        where = signal_figures(gate_N, table.is_start, table.article_N)
        miss = signal_figures(gate_N, missed_N, table.article_N)
        found = {"auroc_starts": where.auroc, "auroc_misses": miss.auroc}
        found |= {f"misses_found_{at.rate:g}": at.recall for at in miss.at if at.rate in RATES}
        return {k: [round(v.value, 4), round(v.low, 4), round(v.high, 4)] for k, v in found.items()}

    def minus(self, one_N, other_N, table, missed_N) -> dict:
        """Return paired differences, with intervals over articles."""
        rng, articles = np.random.default_rng(0), int(table.article_N.max()) + 1
        parts = [split_by_article(a, table.article_N)
                 for a in (one_N, other_N, table.is_start, missed_N)]  # fmt: skip
        draws = [np.arange(articles)]
        draws += [rng.integers(0, articles, articles) for _ in range(100)]
        found: dict[str, list[float]] = {}
        for draw in draws:
            one, other, start, missed = (np.concatenate([part[n] for n in draw]) for part in parts)
            for name, due in (("auroc_starts", start), ("auroc_misses", missed)):
                found.setdefault(name, []).append(ranking(one, due) - ranking(other, due))
            for rate in RATES:
                name = f"misses_found_{rate:g}"
                change = share_found(one, missed, rate) - share_found(other, missed, rate)
                found.setdefault(name, []).append(change)
        return {
            name: [
                round(float(v), 4) for v in (values[0], *np.quantile(values[1:], (0.025, 0.975)))
            ]
            for name, values in found.items()
        }

    def servings(self) -> dict:
        """Return what users saw in each serving, with intervals over people."""
        found = {}
        for path in sorted((self.out / "served").glob("round*/counts.json")):
            counts = np.asarray(json.loads(path.read_text()))
            own, own_wrong, borrowed, borrowed_wrong, calls, tokens = counts.T
            rng, many = np.random.default_rng(0), len(counts)
            draws = [np.arange(many), *(rng.integers(0, many, many) for _ in range(2000))]

            def share(top, bottom, draws=draws):
                values = [top[d].sum() / max(1, bottom[d].sum()) for d in draws]
                low, high = np.quantile(values[1:], TAILS)
                return [round(float(v), 4) for v in (values[0], low, high)]

            right = own - own_wrong + borrowed - borrowed_wrong
            found[path.parent.name] = {
                "people": many,
                "entities_right": share(right, own + borrowed),
                "right_per_text": share(right, np.ones(many)),
                "own_right": share(own - own_wrong, own),
                "borrowed_right": share(borrowed - borrowed_wrong, borrowed),
                "calls_per_token": share(calls, tokens),
            }
        return found


def ranking(values_N, due_N) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(due_N, values_N))


def share_found(values_N, due_N, rate: float) -> float:
    limit = np.quantile(values_N, 1 - rate, method="higher")
    return float((values_N[due_N] > limit).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--fit", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=20, help="articles of the first gate")
    parser.add_argument("--people", type=int, default=40, help="people per round")
    parser.add_argument("--valid-articles", type=int, default=180)
    parser.add_argument("--words", type=int, default=12, help="words of each article in a prompt")
    parser.add_argument("--new", type=int, default=80, help="tokens per answer")
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--pipeline", default="auto")
    args = parser.parse_args()
    bench = Benchmark(args)
    bench.run()
    result = {
        "command": "python benchmarks/data_loop.py smollm2 --fit FIT.jsonl --valid VALID.jsonl",
        "settings": {k: v for k, v in vars(args).items() if not isinstance(v, Path)},
        "interval": "95%, bootstrap over articles or people",
        "held_out": bench.measure(),
        "served": bench.servings(),
        "loops": {
            path.parent.name: {
                k: v for k, v in json.loads(path.read_text()).items()
                if k in ("answers", "judged", "documents", "labels", "repeated", "without_values")
            }
            for path in sorted(args.out.glob("loop-*/loop.json"))
        },
        "environment": environment(),
    }  # fmt: skip
    (RESULTS / "data_loop.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("held_out", "served", "loops")}, indent=1))


if __name__ == "__main__":
    main()
