"""What each step and output of a plan does, and how its files are measured."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.compress.measuring import StageMeasured, measure_stage
from lacy.compress.settings import (
    CompressPlan,
    FolderOutput,
    GgufOutput,
    Int8Output,
    LayersStep,
    OnnxOutput,
    Planned,
    RecoverStep,
    RefitStep,
    SparsityStep,
    VocabularyStep,
    WidthStep,
)
from lacy.compress.speed import Speed, engine_speed, llama_cpp_speed
from lacy.compress.texts import Texts
from lacy.disk import CACHE_VARIABLE

if TYPE_CHECKING:
    from torch import Tensor

    from lacy.model import Loaded

GATE_TEXTS = 256
"""Maximum number of texts from which a separate gate's second row in a GGUF file is fitted."""

COST_TOKENS = 4096
"""Number of tokens from which it is estimated what rounding each matrix costs."""

NORM_CONTEXT, NORM_ROWS = 128, 4
"""Tokens per row and rows per step where norms are trained: small, for many steps."""

MODEL = "model"
"""Name of the model's folder of a step."""

SCRATCH = "scratch"
"""Name of the folder of temporary files, which may be as large as the model."""

TRAINING = "training"
"""Subfolder of a step with its training checkpoints; it is deleted when the step is done."""


@dataclass
class Context:
    """What all steps of a compression share."""

    plan: CompressPlan
    texts: Texts
    out: Path
    notify: Callable[[str], object]
    teacher: str = ""
    """The last model with the present tokens that no step has damaged."""
    costs: dict[str, Any] = field(default_factory=dict)
    """What rounding the matrices of a model costs, by the model's folder."""

    @property
    def scratch(self) -> Path:
        """Folder of temporary files; what a killed process left there goes with the next run."""
        return self.out / SCRATCH

    def rows(self, loaded: Any) -> tuple[Tensor, ...]:
        """Return token ids of the texts, from which steps measure the inputs of layers."""
        from lacy.layerwise import text_rows

        plan = self.plan
        length = min(plan.length, loaded.context)
        return text_rows(
            self.texts.fit, loaded.tokenizer, rows=plan.rows, length=length, seed=plan.seed
        )

    @property
    def articles(self) -> list[Any]:
        """The texts to which the ``<CALL>`` row is fitted."""
        return self.texts.fit[: self.plan.articles]


def apply_step(
    step: Planned, before: str, folder: Path, context: Context
) -> tuple[Path, dict[str, Any]]:
    """Apply a step to a model, fit its ``<CALL>`` row again, and write it.

    Args:
        step: the step.
        before: name of the model that it is applied to.
        folder: where the model's folder is written.
        context: texts and settings.

    Returns:
        The model's folder, and what the step reports about itself.
    """
    from lacy.model import load_model

    loaded = load_model(before)
    loaded.model.eval()
    history = list(loaded.meta.get("compression", []))
    loaded, did = _applied(step.settings, loaded, folder, context)
    loaded.meta["compression"] = [*history, {step.kind: did}]
    path = folder / MODEL
    return path, did | _save_fitted(loaded, path, context)


def _applied(
    settings: Any, loaded: Loaded, folder: Path, context: Context
) -> tuple[Loaded, dict[str, Any]]:
    """Return the changed model, and what was done."""
    rows, notify = context.rows(loaded), context.notify
    match settings:
        case RefitStep():
            return loaded, {}
        case VocabularyStep():
            from lacy.vocabulary import task_vocabulary, trim_vocabulary

            pairs = (("", document.text) for document in context.texts.fit)
            vocabulary = task_vocabulary(
                loaded.tokenizer, pairs, counted="all", tolerance=settings.tolerance,
                tokens=settings.tokens or None, where="the texts",
            )  # fmt: skip
            before = len(loaded.tokenizer)
            smaller = trim_vocabulary(loaded, vocabulary)
            return smaller, {"tokens": len(smaller.tokenizer), "tokens_before": before}
        case LayersStep(remove=remove, by=by):
            from lacy.prune import prune_depth

            how: dict[str, Any] = {"share": remove} if remove < 1 else {"count": int(remove)}
            pruned = prune_depth(loaded, rows, **how, by=by, refit=rows, notify=notify)
            return pruned.loaded, {
                "removed": sorted(pruned.removed), "layers_before": pruned.blocks,
                "parameters": pruned.parameters[1],
            }  # fmt: skip
        case WidthStep(neurons=neurons, heads=heads, channels=channels):
            from lacy.prune import prune_width, width_of_shares

            shares = {"neurons": neurons, "heads": heads, "channels": channels}
            kept = width_of_shares(loaded.model, **shares)
            narrow = prune_width(
                loaded, rows, heads=kept.get("heads"), neurons=kept.get("neurons"),
                channels=kept.get("channels"), notify=notify,
            )  # fmt: skip
            return narrow.loaded, {**kept, "parameters": narrow.parameters[1]}
        case SparsityStep(method=method, share=share, pattern=pattern):
            from lacy.prune import prune_weights

            sparse = prune_weights(
                loaded, rows, method=method, sparsity=share, pattern=pattern or None, notify=notify
            )
            return sparse.loaded, {"zeros": sparse.zeros[1], "weights": sparse.weights}
        case RecoverStep():
            from lacy.distill import DistillSettings, distill
            from lacy.prune import holding_zeros

            imitate: Any = "unmarked" if settings.delegation else "all"
            meta = dict(loaded.meta)
            texts = context.texts.for_training(settings.tokens, marks=settings.delegation)
            done = distill(
                loaded, context.teacher, texts, tokens=settings.tokens, lr=settings.learning_rate,
                settings=DistillSettings(imitate=imitate, weight=settings.teacher_weight),
                context=context.plan.length, batch_rows=settings.batch_rows,
                seed=context.plan.seed, keep=1,
                out=folder / TRAINING / "run", during=holding_zeros, notify=notify,
            )  # fmt: skip
            # How the model was made stays on record; this training is a part of "compression".
            done.loaded.meta = meta
            return done.loaded, {"tokens": done.tokens, "steps": done.steps}
    raise AssertionError(f"no step for {settings!r}")


def _save_fitted(loaded: Loaded, path: Path, context: Context) -> dict[str, Any]:
    """Fit the ``<CALL>`` row again, and write the model's folder.

    A row that was trained with the rest of the model (not a separate gate) stays as it is.
    """
    from lacy.model import gate_of, save_model
    from lacy.tune import tune

    if not loaded.calls or gate_of(loaded.model) != "sigmoid":
        save_model(path, loaded.model, loaded.tokenizer, loaded.meta)
        return {}
    tuned = loaded.meta.get("tune", {})
    with tempfile.TemporaryDirectory(dir=context.scratch) as states:
        found = tune(
            loaded, context.articles, out=path, target=tuned.get("target", "where"),
            articles=context.plan.articles, tokens=context.plan.length, seed=context.plan.seed,
            states=states, notify=context.notify, progress=False,
        )  # fmt: skip
    return {"gate_auroc": round(found.figures.target["gate"].auroc.value, 4)}


def write_output_files(
    step: Planned, before: str, folder: Path, context: Context
) -> tuple[Path, dict[str, Any]]:
    """Write an output of a model.

    Args:
        step: the output.
        before: name of the model that is written.
        folder: where the file or folder is written.
        context: texts and settings.

    Returns:
        The file or folder, and what was done.
    """
    from lacy.model import load_model

    loaded = load_model(before)
    loaded.model.eval()
    path = folder / (f"{MODEL}.gguf" if step.kind == "gguf" else MODEL)
    return path, _written(step.settings, loaded, before, path, context)


def _written(
    settings: Any, loaded: Loaded, before: str, path: Path, context: Context
) -> dict[str, Any]:
    match settings:
        case GgufOutput():
            return _write_gguf(settings, loaded, before, path, context)
        case Int8Output(activations=activations):
            from lacy.runtimes import quantize_int8

            kind: Any = "int8_dynamic" if activations else "int8"
            loaded, record = quantize_int8(loaded, kind, notify=context.notify)
            return {**asdict(record), **_save_fitted(loaded, path, context)}
        case OnnxOutput(precision=precision):
            from lacy.runtimes import write_onnx

            write_onnx(loaded, path, precision, notify=context.notify)
            return {}
        case FolderOutput(precision=precision):
            from lacy.runtimes import write_safetensors

            write_safetensors(loaded, path, precision)
            return {}
    raise AssertionError(f"no output for {settings!r}")


def _write_gguf(
    settings: GgufOutput, loaded: Loaded, before: str, path: Path, context: Context
) -> dict[str, Any]:
    """Round the weights, train the norms, fit the ``<CALL>`` row again, and write the file."""
    from lacy.model import write_gguf

    texts = [document.text for document in context.texts.fit[:GATE_TEXTS]]
    if not settings.rounds:
        write_gguf(loaded, path, settings.precision, texts)
        return {}
    from lacy.quantize import choose_types, matrix_costs, quantize

    rows = context.rows(loaded)
    types: Any = settings.precision
    if settings.bits:
        costs = context.costs.get(str(loaded.path))
        if costs is None:  # the same for all sizes
            few = [ids_BT[: COST_TOKENS // ids_BT.shape[1] + 1] for ids_BT in rows[:1]]
            costs = context.costs[str(loaded.path)] = matrix_costs(loaded, few)
        weights = sum(p.numel() for p in loaded.model.parameters() if p.ndim == 2)
        types = choose_types(costs, int(settings.bits * weights / 8))
    quantized = quantize(loaded, rows, types, method=settings.method, notify=context.notify)
    if settings.norm_tokens and not (settings.precision == "q8_0" and not settings.bits):
        quantized.loaded = _norms_trained(quantized.loaded, before, settings.norm_tokens, context)
    with tempfile.TemporaryDirectory(dir=context.scratch) as scratch:
        did = _save_fitted(quantized.loaded, Path(scratch) / MODEL, context)
    quantized.write(path, texts)
    report = quantized.report
    kinds = Counter(matrix.kind for matrix in report.matrices)
    how = Counter(matrix.how for matrix in report.matrices)
    return {
        **did, "bits_per_weight": round(report.bits_per_weight, 3), "types": dict(kinds),
        "rounded": dict(how),
    }  # fmt: skip


def _norms_trained(loaded: Loaded, teacher: str, tokens: int, context: Context) -> Loaded:
    """Train the norms of a model with rounded matrices; the matrices stay as they are."""
    from lacy.distill import DistillSettings, distill

    meta = dict(loaded.meta)
    done = distill(
        loaded, teacher, context.texts.for_training(tokens, marks=False),
        settings=DistillSettings(imitate="all"), tokens=tokens, depth="norms",
        context=NORM_CONTEXT, batch_rows=NORM_ROWS, seed=context.plan.seed, notify=context.notify,
    )  # fmt: skip
    done.loaded.meta = meta
    return done.loaded


def measure_files(kind: str, path: Path, loaded: Loaded | None, context: Context) -> StageMeasured:
    """Open the files of a stage again, and measure them.

    Args:
        kind: ``original``, or the kind of a step or output.
        path: a folder or file.
        loaded: the model, if it is open.
        context: texts and settings.
    """
    with _scratch_cache(context.scratch) if kind == "gguf" else contextlib.nullcontext():
        opened = loaded or _open(path)
        measured = measure_stage(
            opened, context.texts.held_out, context.plan, notify=context.notify
        )
        if not context.plan.measure.speed:
            return measured
        context.notify("Measure speed and memory")
        speed = _speed(kind, path, opened)
    scores = {**measured.scores, "decode_rate": speed.decode, "peak_memory": speed.memory}
    return replace(measured, scores=scores, conditions={"runtime": speed.runtime})


def _open(path: Path) -> Any:
    """Open the files of a stage."""
    from lacy.runtimes import open_local

    loaded = open_local(path)
    loaded.model.eval()
    return loaded


def _speed(kind: str, path: Path, loaded: Loaded) -> Speed:
    """Measure speed and memory in the runtime that the files are for."""
    import torch

    if kind == "gguf":
        return llama_cpp_speed(path, torch.get_num_threads())
    if kind == "onnx":
        return engine_speed(loaded, path, "ONNX Runtime")
    dtype = "bf16" if loaded.model.dtype == torch.bfloat16 else "fp32"
    return engine_speed(loaded, path, "PyTorch", dtype)


@contextlib.contextmanager
def _scratch_cache(scratch: Path) -> Iterator[None]:
    """Convert GGUF files into a folder that is removed at the end, not into the user's cache."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLE]
            else:
                os.environ[CACHE_VARIABLE] = before
