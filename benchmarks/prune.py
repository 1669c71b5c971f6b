r"""Measure what pruning costs: single weights, blocks, widths, and what recovery brings back.

    python benchmarks/prune.py weights --model NAME=FOLDER --keep DIR [--bf16]
    python benchmarks/prune.py depth   --model NAME=FOLDER --keep DIR [--bf16]
    python benchmarks/prune.py width   --model NAME=FOLDER --keep DIR [--bf16]
    python benchmarks/prune.py peer    --model NAME=FOLDER --keep DIR   # needs torch-pruning
    python benchmarks/prune.py recover --model NAME=FOLDER --keep DIR --tokens 8192 32768
    python benchmarks/prune.py table   --keep DIR

Every variant starts from the same model, is calibrated on the same training texts, and is measured
on the same held-out marked texts; a variant that ``--keep`` has is not measured again. Intervals
are 95% over texts, paired with the dense model. ``table`` writes ``results/prune.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from lacy.cascade import truncate_document
from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.distill import DistillSettings, distill
from lacy.evaluate.language import read_losses
from lacy.layerwise import text_rows
from lacy.model import Loaded, load_model, save_model
from lacy.prune import holding_zeros, prune_depth, prune_weights, prune_width
from lacy.results import difference, ratio
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
PARTS = ("all", "facts", "others")

Step = Callable[[Loaded], tuple[Loaded, dict[str, Any]]]


class Bench:
    """One model, its texts, and a folder with what was measured before."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.name, _, folder = args.model.partition("=")
        self.folder = Path(folder)
        self.tokenizer = self.open().tokenizer
        documents = itertools.islice(read(args.texts), args.count)
        self.texts = [truncate_document(d, self.tokenizer, args.length) for d in documents]
        self.rows = self.calibration(args.rows)

    def open(self) -> Loaded:
        """Open the dense model."""
        loaded = load_model(self.folder, verify=False)
        loaded.model.eval()
        return loaded

    def calibration(self, rows: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Return token ids of training texts."""
        documents = list(read(self.args.calibration))
        return text_rows(
            documents, self.tokenizer, rows=rows, length=self.args.row_length, seed=seed
        )

    def losses(self, loaded: Loaded) -> dict[str, list[list[float]]]:
        """Return the summed loss and the number of tokens of each text, by kind of token."""
        found: dict[str, list[list[float]]] = {part: [] for part in PARTS}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            for text in read_losses(loaded, self.texts, 1024, 512):
                masks = {"all": text.loss == text.loss, "facts": text.fact, "others": ~text.fact}
                for part, mask in masks.items():
                    found[part].append([float(text.loss[mask].sum()), int(mask.sum())])
        return found

    def variant(self, name: str, step: Step, keep_model: bool = False) -> None:
        """Measure a variant, unless it was measured before."""
        file, only = self.args.keep / f"{self.name}.{name}.json", self.args.only
        if file.exists() or (only and not any(name.endswith(part) for part in only)):
            return
        cpu = time.process_time()
        loaded, about = step(self.open())
        cpu = time.process_time() - cpu
        parameters = sum(p.numel() for p in loaded.model.parameters())
        row = {
            "model": self.name, "variant": name, "parameters": parameters,
            "seconds_cpu": round(cpu, 1), "losses": self.losses(loaded), **about,
            "conditions": {
                "bf16": self.args.bf16, "texts": len(self.texts), "length": self.args.length,
                "rows": self.args.rows, "row_length": self.args.row_length,
                "threads": torch.get_num_threads(),
            },
            "environment": environment(),
        }  # fmt: skip
        if keep_model:
            save_model(self.args.keep / f"{self.name}.{name}", loaded.model, loaded.tokenizer)
        write_atomic(file, json.dumps(row))
        nats = {p: sum(n for n, _ in row["losses"][p]) / sum(k for _, k in row["losses"][p])
                for p in PARTS}  # fmt: skip
        print(name, {p: round(v, 4) for p, v in nats.items()}, f"{cpu:.0f} s", flush=True)


# -------------------------------------------------------------------------------------- parts


def weights(bench: Bench) -> None:
    bench.variant("dense", lambda loaded: (loaded, compressed(bench, loaded)))
    for pattern, method in itertools.product((None, "2:4"), ("magnitude", "wanda", "sparsegpt")):

        def step(loaded: Loaded, how: Any = (method, pattern)) -> tuple[Loaded, dict[str, Any]]:
            done = prune_weights(
                loaded, bench.rows, method=how[0], pattern=how[1], bf16=bench.args.bf16
            )
            about = {"zeros": done.zeros, "weights": done.weights}
            return done.loaded, about | compressed(bench, done.loaded)

        bench.variant(f"weights.{pattern or '50%'}.{method}", step)


def compressed(bench: Bench, loaded: Loaded) -> dict[str, Any]:
    """Return the bytes of the weights as a file, and compressed, in float32 and bfloat16."""
    if not bench.args.compress:
        return {}
    found = {}
    for kind in (torch.float32, torch.bfloat16):
        tensors = {n: p.detach().to(kind).contiguous() for n, p in loaded.model.named_parameters()}
        data = save(tensors)
        found[str(kind).removeprefix("torch.")] = {
            "file": len(data), "compressed": len(zlib.compress(data, 6))
        }  # fmt: skip
    return {"bytes": found}


def depth(bench: Bench) -> None:
    bench.variant("dense", lambda loaded: (loaded, compressed(bench, loaded)))
    choice_rows = bench.calibration(bench.args.choice_rows, seed=1)
    for by, refit in itertools.product(("loss", "influence", "last"), (False, True)):

        def step(loaded: Loaded, how: Any = (by, refit)) -> tuple[Loaded, dict[str, Any]]:
            done = prune_depth(
                loaded, choice_rows, by=how[0], refit=bench.rows if how[1] else (),
                share=bench.args.share, bf16=bench.args.bf16,
                notify=lambda text: print("  ", text, flush=True),
            )  # fmt: skip
            fits = [[fit.block, fit.penalty, *fit.errors] for fit in done.fits]
            return done.loaded, {
                "removed": done.removed,
                "fits": fits,
                **speed(loaded, done.loaded),
            }

        bench.variant(f"depth.{by}{'.refit' if refit else ''}", step, keep_model=by == "loss")


def speed(dense: Loaded, pruned: Loaded, tokens: int = 128, times: int = 5) -> dict[str, float]:
    """Return CPU seconds per forward pass of both models, in turns; the smallest of each."""
    ids_BT = torch.arange(tokens)[None] + 5
    best = {"dense": float("inf"), "pruned": float("inf")}
    for _ in range(times):
        for name, loaded in (("dense", dense), ("pruned", pruned)):
            loaded.model.eval()
            with torch.inference_mode():
                start = time.process_time()
                loaded.model(input_ids=ids_BT, use_cache=False)
                best[name] = min(best[name], time.process_time() - start)
    return {"forward_cpu_ratio": round(best["dense"] / best["pruned"], 3)}


def width(bench: Bench) -> None:
    bench.variant("dense", lambda loaded: (loaded, compressed(bench, loaded)))
    config: Any = bench.open().model.config
    three_quarters = {
        "heads": {"heads": round(0.75 * config.num_attention_heads / 3) * 3
                  if config.num_attention_heads % 3 == 0 else config.num_attention_heads * 3 // 4},
        "neurons": {"neurons": config.intermediate_size * 3 // 4},
        "channels": {"channels": config.hidden_size * 7 // 8 // 32 * 32},
    }  # fmt: skip
    for (name, what), compensate in itertools.product(three_quarters.items(), (False, True)):

        def step(loaded: Loaded, how: Any = (what, compensate)) -> tuple[Loaded, dict[str, Any]]:
            before = bench.open()
            done = prune_width(
                loaded, bench.rows, **how[0], compensate=how[1], bf16=bench.args.bf16
            )
            return done.loaded, {"keeps": how[0], **speed(before, done.loaded)}

        bench.variant(f"width.{name}{'.compensated' if compensate else ''}", step)


def peer(bench: Bench) -> None:
    """Remove a quarter of the neurons with torch-pruning, by its two ways to score them."""
    import torch_pruning

    for name, kind in (
        ("magnitude", torch_pruning.importance.GroupMagnitudeImportance),
        ("activation", torch_pruning.importance.ActivationImportance),
    ):

        def step(loaded: Loaded, kind: Any = kind) -> tuple[Loaded, dict[str, Any]]:
            model: Any = loaded.model
            model.config.use_cache = False
            kwargs = {"target_types": [torch.nn.Linear]} if "Activation" in kind.__name__ else {}
            importance = kind(p=2, **kwargs)
            gates = {block.mlp.gate_proj: 0.25 for block in model.model.layers}
            pruner = torch_pruning.pruner.MetaPruner(
                model, example_inputs=bench.rows[0][:1], importance=importance,
                pruning_ratio=0.0, pruning_ratio_dict=gates, ignored_layers=[model.lm_head],
                num_heads=heads_of(model), prune_head_dims=False,
            )  # fmt: skip
            if kwargs:
                # It keeps the last batch only, so all texts of full length are one batch.
                length = bench.rows[0].shape[1]
                ids_BT = torch.cat([part for part in bench.rows if part.shape[1] == length])
                with torch.no_grad(), importance.compute_importance(model):
                    model(input_ids=ids_BT)
            pruner.step()
            kept = {block.mlp.gate_proj.out_features for block in model.model.layers}
            return loaded, {"keeps": {"neurons": sorted(kept)},
                            "torch_pruning": torch_pruning.__version__}  # fmt: skip

        bench.variant(f"peer.torch-pruning.neurons.{name}", step)


def heads_of(model: Any) -> dict[Any, int]:
    """Return the number of heads of each projection, as torch-pruning's example does."""
    found = {}
    for block in model.model.layers:
        found[block.self_attn.q_proj] = model.config.num_attention_heads
        for projection in (block.self_attn.k_proj, block.self_attn.v_proj):
            found[projection] = model.config.num_key_value_heads
    return found


def recover(bench: Bench) -> None:
    """Train variants of which the model was kept, with the dense model as teacher or without."""
    for start, teacher in itertools.product(bench.args.starts, (True, False)):
        folder = bench.args.keep / f"{bench.name}.{start}"
        for tokens in bench.args.tokens:

            def step(
                dense: Loaded, how: Any = (folder, teacher, tokens)
            ) -> tuple[Loaded, dict[str, Any]]:
                place, taught, length = how
                pruned = load_model(place, verify=False)
                done = distill(
                    pruned, dense if taught else None, list(read(bench.args.calibration)),
                    settings=DistillSettings(imitate="all", weight=1.0 if taught else 0.0),
                    tokens=length, context=bench.args.row_length, batch_rows=bench.args.batch_rows,
                    lr=bench.args.lr, depth=bench.args.depth, during=holding_zeros, threads=1,
                    device="cpu", notify=lambda text: print("  ", text, flush=True),
                )  # fmt: skip
                return done.loaded, {"trained": done.record()}

            taught = "taught" if teacher else "text"
            bench.variant(f"recover.{start}.{taught}.{bench.args.depth}.{tokens}", step)


# -------------------------------------------------------------------------------------- table


RIVALS = {"wanda": "magnitude", "sparsegpt": "magnitude", ".refit": "", ".compensated": "",
          "taught": "text"}  # fmt: skip
"""A variant is also compared with the one whose name has the second part instead of the first."""


def rivals_of(name: str) -> Iterator[str]:
    """Yield the names of the baselines of a variant."""
    yield from (name.replace(own, other) for own, other in RIVALS.items() if own in name)
    if name.startswith("width.neurons"):
        yield from (f"peer.torch-pruning.neurons.{how}" for how in ("magnitude", "activation"))


def table(keep: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per variant: losses, and their increase over the dense model and rivals."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(keep.glob("*.json"))]
    dense = {row["model"]: row for row in found if row["variant"] == "dense"}
    for row in found:
        losses = row.pop("losses")
        base = json.loads((keep / f"{row['model']}.dense.json").read_text())["losses"]
        row["loss"], row["increase"], row["increase_percent"] = {}, {}, {}
        for part in PARTS:
            own, first = (list(zip(*each[part], strict=True)) for each in (losses, base))
            score, gap = ratio(*own), difference(own, first, unit="nats per token")
            row["loss"][part] = [score.value, score.low, score.high]
            row["increase"][part] = [gap.value, gap.low, gap.high]
            row["increase_percent"][part] = 100 * gap.value / ratio(*first).value
        for rival in rivals_of(row["variant"]):
            file = keep / f"{row['model']}.{rival}.json"
            if file.exists():
                other = json.loads(file.read_text(encoding="utf-8"))["losses"]
                pairs = (list(zip(*each["all"], strict=True)) for each in (losses, other))
                gap = difference(*pairs, unit="nats per token")
                row.setdefault("minus", {})[rival] = [gap.value, gap.low, gap.high]
        row["parameters_share"] = row["parameters"] / dense[row["model"]]["parameters"]
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"weights": weights, "depth": depth, "width": width, "recover": recover, "peer": peer}
    parser.add_argument("part", choices=[*parts, "table"])
    parser.add_argument("--model", help="NAME=FOLDER")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="held-out texts with marks")
    parser.add_argument("--calibration", type=Path, help="training texts")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--length", type=int, default=192)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--row-length", type=int, default=128)
    parser.add_argument("--choice-rows", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--only", nargs="+", help="ends of the names of variants")
    parser.add_argument("--starts", nargs="+", default=["depth.loss", "depth.loss.refit"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--batch-rows", type=int, default=8)
    parser.add_argument("--depth", default="full")
    parser.add_argument("--lr", type=float)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part == "table":
        rows = list(table(args.keep))
        write_atomic(RESULTS / "prune.json", json.dumps({"rows": rows}, indent=1) + "\n")
        for row in rows:
            shown = {p: round(v, 2) for p, v in row["increase_percent"].items()}
            rivals = {k: [round(x, 4) for x in v] for k, v in row.get("minus", {}).items()}
            print(row["model"], row["variant"], f"{row['loss']['all'][0]:.4f}", shown, rivals)
        return
    args.keep.mkdir(parents=True, exist_ok=True)
    parts[args.part](Bench(args))


if __name__ == "__main__":
    main()
