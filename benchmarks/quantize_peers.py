"""Quantize a model in memory by other libraries, and the bytes that they save."""

from __future__ import annotations

from pathlib import Path

import torch

PEERS = ("quanto8", "quanto4", "bnb8", "bnb4", "torchao8", "autoround4")


def apply(peer, loaded, rows, work):
    """Replace the model's linear layers; return bytes of all distinct tensors, and what was done.

    Embedding and head stay as each library leaves them.
    """
    model = loaded.model
    what = {
        "quanto8": _quanto, "quanto4": _quanto, "bnb8": _bitsandbytes, "bnb4": _bitsandbytes,
        "torchao8": _torchao, "autoround4": _autoround,
    }[peer](peer, loaded, rows, Path(work))  # fmt: skip
    return size_of(loaded.model if what.get("replaced") else model), what


def size_of(model):
    """Bytes of the distinct tensors in the state dict, as a file would store them."""
    seen, total = set(), 0
    for value in _tensors(model.state_dict()):
        key = (value.data_ptr(), value.numel())
        if key not in seen:
            seen.add(key)
            total += value.numel() * value.element_size()
    return total


def _tensors(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif hasattr(value, "__tensor_flatten__") and type(value) is not torch.nn.Parameter:
        for name in value.__tensor_flatten__()[0]:
            yield from _tensors(getattr(value, name))
    elif isinstance(value, torch.Tensor):
        yield value


def _quanto(peer, loaded, rows, work):
    from optimum.quanto import freeze, qint4, qint8, quantize

    quantize(loaded.model, weights=qint8 if peer == "quanto8" else qint4, exclude="lm_head")
    freeze(loaded.model)
    return {"library": "optimum-quanto", "embedding and head": "float32"}


def _torchao(peer, loaded, rows, work):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    head = loaded.model.get_output_embeddings()
    quantize_(
        loaded.model, Int8WeightOnlyConfig(),
        lambda module, name: isinstance(module, torch.nn.Linear) and module is not head,
    )  # fmt: skip
    return {"library": "torchao", "embedding and head": "float32"}


def _bitsandbytes(peer, loaded, rows, work):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = work / "bnb-source"
    loaded.model.save_pretrained(folder)
    settings = (
        BitsAndBytesConfig(load_in_8bit=True)
        if peer == "bnb8"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    )
    loaded.model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float32, device_map="cpu"
    ).eval()
    return {"library": "bitsandbytes", "embedding and head": "float32", "replaced": True}


def _autoround(peer, loaded, rows, work):
    from auto_round import AutoRound

    ids = [row for ids_BT in rows for row in ids_BT]
    length = max(len(row) for row in ids)
    texts = [loaded.tokenizer.decode(row[1:]) for row in ids if len(row) == length][:16]
    rounder = AutoRound(
        loaded.model, loaded.tokenizer, bits=4, group_size=32, sym=False, iters=20,
        nsamples=len(texts), seqlen=length - 8, batch_size=4, dataset=texts, device_map="cpu",
        enable_torch_compile=False,
    )  # fmt: skip
    found = rounder.quantize()
    loaded.model = found[0] if isinstance(found, tuple) else rounder.model
    return {
        "library": "auto-round",
        "embedding and head": "float32",
        "iterations": 20,
        "replaced": True,
    }
