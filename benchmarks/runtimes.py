"""Compare the formats of ``lacy export`` that this process runs: size, memory, speed, losses.

    python benchmarks/runtimes.py MODEL --work FOLDER [--articles MARKED.jsonl] [--part losses ...]

MODEL is a tuned model in float32; its exports are written to FOLDER once. Parts:

- ``losses``: losses of held-out texts on and off fact tokens, and the gate's logits, of each format
  against the model itself on the same tokens. Articles are resampled, never tokens.
- ``memory``: bytes of the weights, and resident memory in a fresh process that generates once.
- ``speed``: greedy decoding of one text (no calls), one thread, 24 tokens of prompt and 32 new;
  in each round all formats run in random order after a warm-up. CPU seconds of this process, and
  wall seconds, which other processes of the machine lengthen. Before, the seconds to load, with all
  packages imported and the files in the system's cache.

``onnx-dynamic`` is a control that lacy does not offer: ``quantize_dynamic`` of ONNX Runtime, which
rounds all inputs of a layer with one scale.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lacy.annotate import encode
from lacy.cascade import Engine, truncate_document
from lacy.corpus import read
from lacy.efficiency import file_sizes, peak_memory, timed_prompts
from lacy.model import load_model, set_precision, without_call
from lacy.results import score_sums
from lacy.run import environment
from lacy.runtimes import open_local, write_onnx, write_safetensors
from lacy.types import MarkFlag

RESULTS = Path(__file__).parent / "results" / "runtimes.json"
BF16 = "bf16-computed"
"""The bf16 folder, with bfloat16 also in memory (``--dtype bf16``)."""
FORMATS = ("f32", "bf16", BF16, "int8", "int8_dynamic", "onnx-f32", "onnx-int8", "onnx-dynamic")
PROMPT, NEW, TOKENS = 24, 32, 192


def make(source: Path, work: Path, formats: list[str]) -> dict[str, Path]:
    """Write the exports that are not there yet; return the folders by format, f32 first."""
    folders = {"f32": source, BF16: work / "bf16"}
    folders = {name: folders.get(name, work / name) for name in FORMATS if name in formats}
    for name, folder in folders.items():
        if folder.exists():
            continue
        if name == "onnx-dynamic":
            make_dynamic(work / "onnx-f32", folder)
        elif name.startswith("onnx-"):
            write_onnx(load_model(source), folder, name.removeprefix("onnx-"))
        else:
            write_safetensors(load_model(source), folder, folder.name)
    return folders


def make_dynamic(plain: Path, out: Path) -> None:
    """Quantize the matrices of the layers per output, and their inputs with one scale."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(plain, out, ignore=shutil.ignore_patterns("model.onnx*"))
    quantize_dynamic(
        plain / "model.onnx", out / "model.onnx", use_external_data_format=True,
        op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip


def opened(name: str, folders: dict[str, Path]) -> Any:
    loaded = open_local(folders[name])
    if name == BF16:
        set_precision(loaded.model, "bf16")
    return loaded


@torch.inference_mode()
def read_texts(loaded: Any, articles: Path, count: int) -> list[dict[str, np.ndarray]]:
    """Return losses, gate logits, facts and value starts of the tokens of each text."""
    found = []
    for document in read(articles):
        encoded = encode(truncate_document(document, loaded.tokenizer, TOKENS), loaded.tokenizer)
        ids, marks = encoded.input_ids[:-1], np.asarray(encoded.marks[1:-1], np.uint8)
        logits_TV = loaded.model(input_ids=torch.tensor([list(ids[:-1])])).logits[0].float()
        text_TV = without_call(logits_TV, loaded.call_id)
        target_T1 = torch.tensor(list(ids[1:]))[:, None]
        loss_T = torch.logsumexp(text_TV, -1) - text_TV.gather(-1, target_T1)[:, 0]
        fact_T = (marks & MarkFlag.FACT) != 0
        found.append(
            {
                "loss": loss_T.double().numpy(),
                "gate": logits_TV[:, -1].double().numpy(),
                "fact": fact_T,
                "start": fact_T & ~np.concatenate([[False], fact_T[:-1]]),
            }
        )
        if len(found) == count:
            break
    return found


def compare_losses(mine: list[dict], plain: list[dict], seed: int) -> dict[str, Any]:
    """Return losses and their changes relative to the plain model, with intervals over texts."""
    result: dict[str, Any] = {}
    for part in ("all", "facts", "others"):
        masks = [
            {"all": ~text["fact"] | True, "facts": text["fact"], "others": ~text["fact"]}[part]
            for text in plain
        ]
        columns = np.array(
            [
                [m["loss"][k].sum(), p["loss"][k].sum(), k.sum()]
                for m, p, k in zip(mine, plain, masks, strict=True)
            ]
        )
        change = score_sums(columns, lambda s: s[:, 0] / s[:, 1] - 1, seed=seed)
        result[part] = {
            "loss": columns[:, 0].sum() / columns[:, 2].sum(),
            "tokens": int(columns[:, 2].sum()),
            "change": asdict(change),
        }
    gate, other = (np.concatenate([t["gate"] for t in texts]) for texts in (mine, plain))
    starts = np.concatenate([text["start"] for text in plain])
    result["gate_auroc"] = float(roc_auc_score(starts, gate))
    result["gate_decisions_changed"] = float(np.mean((gate > 0) != (other > 0)))
    return result


def losses(folders: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    plain: list[dict] = []
    result = {}
    for name in folders:
        texts = read_texts(opened(name, folders), args.articles, args.texts)
        plain = plain or texts
        result[name] = compare_losses(texts, plain, args.seed)
        change = result[name]["all"]["change"]
        print(f"{name}: loss {result[name]['all']['loss']:.4f}, {change['value']:+.3%}", flush=True)
    return result


def memory(folders: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    result = {}
    for name in folders:
        dtype = "bf16" if name == BF16 else "fp32"
        peak = peak_memory(folders[name], prompt_tokens=PROMPT, new_tokens=NEW, dtype=dtype)
        result[name] = {"weight_bytes": file_sizes(folders[name]).weights, **asdict(peak)}
        print(name, result[name], flush=True)
    return result


def speed(folders: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    engines, loads = {}, {}
    for name in folders.keys() & {"onnx-int8", "int8"}:
        opened(name, folders)  # imports what loading needs
    for name in folders:
        wall, cpu = time.perf_counter(), time.process_time()
        loaded = opened(name, folders)
        loads[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        engine = Engine(loaded, policy="never", max_new_tokens=NEW)
        engines[name] = engine.variant(min_new_tokens=NEW)
    prompt = timed_prompts(next(iter(engines.values())), 1, PROMPT)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    order = random.Random(args.seed)
    for n in range(args.rounds + 1):
        for name in order.sample(list(engines), len(engines)):
            wall, cpu = time.perf_counter(), time.process_time()
            tokens = engines[name].generate(prompt)[0].tokens
            times = (time.perf_counter() - wall, time.process_time() - cpu)
            if n:
                seen[name].append((tokens / times[0], tokens / times[1]))
    rng = np.random.default_rng(args.seed)
    result = {}
    for name, rates in seen.items():
        ratios = np.array(
            [mine[1] / plain[1] for mine, plain in zip(rates, seen["f32"], strict=True)]
        )
        draws = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
        result[name] = {
            "load_seconds": loads[name][0],
            "load_cpu_seconds": loads[name][1],
            "tokens_per_second": float(np.median([rate[0] for rate in rates])),
            "tokens_per_cpu_second": float(np.median([rate[1] for rate in rates])),
            "cpu_ratio": float(np.median(ratios)),
            "cpu_ratio_interval": np.quantile(draws, [0.025, 0.975]).tolist(),
        }
        print(name, result[name], flush=True)
    return result


PARTS = {"losses": losses, "memory": memory, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--articles", type=Path)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    folders = make(args.model, args.work, ["f32", *args.formats])
    for part in args.part:
        if part == "losses" and args.articles is None:
            parser.error("--articles is needed for losses")
        found = PARTS[part](folders, args)
        data = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        data[part] = {**data.get(part, {}), **found}
        data["conditions"] = {
            "model": args.model.name, "texts": args.texts, "tokens_per_text": TOKENS,
            "prompt": PROMPT, "new_tokens": NEW, "rounds": args.rounds, "threads": 1,
            "seed": args.seed, "environment": environment(),
        }  # fmt: skip
        RESULTS.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
