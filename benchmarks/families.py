"""Test which families of causal models lacy can start from, of all that transformers supports.

    python benchmarks/families.py                 # all of them, one line each; minutes
    python benchmarks/families.py llama qwen3     # some
    python benchmarks/families.py --out benchmarks/results/families.csv

A tiny random model of each family goes through the steps of a user: open as a checkpoint, train one
step, save, open again, generate a few words, save and open once more, open with plain transformers.
A family either works or is refused with one error code. Anything else is a fault, and the exit
status is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lacy.errors import LacyError

SMALL = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embedding_size": 32,
    "word_embed_proj_dim": 32, "emb_dim": 32,
    "intermediate_size": 64, "ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_ffn_dim": 64,
    "n_inner": 64, "hidden_dim": 64, "moe_intermediate_size": 32, "ffn_hidden_size": 64,
    "shared_expert_intermediate_size": 32, "intermediate_size_mlp": 64,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "num_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128, "n_ctx": 128,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_k": 2, "top_k_experts": 2, "n_group": 1, "topk_group": 1,
    "state_size": 8, "rotary_dim": 8, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "type_vocab_size": 2,
}  # fmt: skip
"""Fields of configs that make a model small, whatever its family calls them."""

LEFT_OUT: tuple[tuple[str, ...], ...] = (
    (),
    ("head_dim",),
    ("pad_token_id",),
    ("num_key_value_heads",),
    ("head_dim", "num_key_value_heads"),
    ("num_experts_per_tok",),
    ("layer_types", "num_hidden_layers"),
)
"""Fields that keep their defaults, tried in turn, if the small values do not fit together."""

_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_LATENT = {
    "head_dim": 8,
    "qk_rope_head_dim": 8,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bamba", "granitemoehybrid"), _MAMBA),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "youtu"), _LATENT),
    "dots1": {"n_shared_experts": 1},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "gemma3n_text": {"activation_sparsity_pattern": 0.0, "num_kv_shared_layers": 0},
    "gemma4_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 300},
    "lfm2_moe": {"full_attn_idxs": [1], "num_dense_layers": 1},
}
"""Additional fields that single families need."""

PLAIN = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}


def families() -> list[str]:
    """Return the model types that transformers opens as causal language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny(kind: str, vocabulary: int) -> Any:
    """Build a tiny random model of a family.

    Raises:
        Exception: whatever its classes raise if these sizes do not fit together.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    torch.manual_seed(0)
    made = CONFIG_MAPPING[kind]
    known = made().to_dict()
    failure: Exception | None = None
    for without in LEFT_OUT:
        wanted = {**SMALL, **PLAIN, **OWN.get(kind, {}), "vocab_size": vocabulary}
        wanted = {name: value for name, value in wanted.items() if name not in without}
        part = known.get("text_config")
        fits = {name: value for name, value in wanted.items() if name in known}
        fits |= {} if "layer_types" in without else _lists(known)
        if isinstance(part, dict):
            inner = {name: value for name, value in wanted.items() if name in part}
            fits["text_config"] = {**part, **inner, **_lists(part)}
        if isinstance(known.get("vision_config"), dict):
            vision = {n: v for n, v in SMALL.items() if n in known["vision_config"]}
            fits["vision_config"] = {**known["vision_config"], **vision}
        try:
            config = made(**fits)
            _require_small(config)
            return AutoModelForCausalLM.from_config(config)
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _lists(known: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with an entry per layer, cut to two layers."""
    found: dict[str, Any] = {}
    if isinstance(known.get("layer_types"), list):
        found["layer_types"] = _two(known["layer_types"])
    if isinstance(known.get("attention_types"), list):
        found["attention_types"] = [[["global", "local"], 1]]
    return found


def _two(kinds: list[str]) -> list[str]:
    """Return two layers, of different kinds if there are several."""
    first = kinds[0]
    return [first, next((kind for kind in kinds if kind != first), first)]


def _require_small(config: Any) -> None:
    """Raise MemoryError if a config would still make a large model."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        count = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if count > 150_000_000:
        raise MemoryError(f"{count:,} parameters")


def tried(kind: str, tokenizer: Any, data: Path, place: Path) -> str:
    """Return the result for a family: ``ok``, an error code of lacy, ``not made``, or a fault."""
    import lacy
    from lacy.model import load_model, save_model
    from lacy.train import TrainConfig, train

    base, run = place / "base", place / "run"
    try:
        with _silent():
            model = tiny(kind, len(tokenizer))
            model.save_pretrained(base)
            tokenizer.save_pretrained(base)
    except Exception as error:
        return f"not made: {type(error).__name__}: {_line(error)}"
    step = "train"
    try:
        with _silent():
            settings = TrainConfig(
                data=data, out=run, model=str(base), steps=1, batch_rows=2, call_rate=0.05,
                quiet=True, device="cpu", threads=1,
            )  # fmt: skip
            train(settings)
            step = "load"
            loaded = lacy.load_model(run)
            step = "generate"
            engine = lacy.Engine(loaded, None, "threshold=0", max_new_tokens=4)
            first = engine.generate(["Mara Vell", "Jon"])
            step = "again"
            save_model(place / "again", loaded.model, loaded.tokenizer)
            again = lacy.Engine(load_model(place / "again"), None, "threshold=0", max_new_tokens=4)
            if [a.text for a in again.generate(["Mara Vell", "Jon"])] != [a.text for a in first]:
                return "FAULT again: different text after saving"
            step = "plain"
            if (problem := _plain(place / "again", loaded)) is not None:
                return f"FAULT plain: {problem}"
        return "ok"
    except LacyError as error:
        late = "" if step == "train" else f"FAULT {step}: "
        return f"{late}[{error.code}] {error.what}"
    except Exception as error:
        return f"FAULT {step}: {type(error).__name__}: {_line(error)}"


def _plain(folder: Path, loaded: Any) -> str | None:
    """Return a difference between plain transformers and lacy, or None if there is none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lacy.corpus import TokenText, begin_end

    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = [begin_end(loaded.tokenizer)[0], *TokenText(loaded.tokenizer).encode("Mara Vell")]
    if tokenizer("Mara Vell").input_ids != wanted:
        return f"tokens {tokenizer('Mara Vell').input_ids}, lacy's {wanted}"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([wanted])
    with torch.no_grad():
        gap = (model(ids).logits - loaded.model(ids).logits).abs().max()
    return None if gap < 1e-4 else f"logits differ by {gap:.2g}"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def prepare(place: Path) -> tuple[Any, Path]:
    """Write a tokenizer that lacy did not make, and packed texts."""
    from transformers import PreTrainedTokenizerFast

    from lacy.annotate import encode
    from lacy.corpus import PackedData, load_tokenizer, train_tokenizer
    from lacy.types import Document, Mark

    text = "Mara Vell was born in Kelfield on 12 May 1815."
    texts = [text.replace("1815", str(1800 + n)) for n in range(24)]
    backend = train_tokenizer(texts, 300).backend_tokenizer
    state = backend.to_str().replace("<CALL>", "<|other|>")
    foreign = PreTrainedTokenizerFast(
        tokenizer_object=type(backend).from_str(state),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )
    foreign.save_pretrained(place / "tokenizer")
    tokenizer = load_tokenizer(place / "tokenizer")
    documents = [
        Document(str(n), text, {}, (Mark(22, 30, "ENTITY"), Mark(34, 45, "DATE")))
        for n, text in enumerate(texts)
    ]
    encoded = [encode(document, tokenizer) for document in documents]
    PackedData.write(encoded, tokenizer, 64, place / "data")
    return foreign, place / "data"


def main() -> int:
    """Test families and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="model types (default: all)")
    parser.add_argument("--out", type=Path, help="CSV file for the results")
    options = parser.parse_args()
    wanted = options.kinds or families()
    faults, rows = 0, []
    with tempfile.TemporaryDirectory() as root:
        tokenizer, data = prepare(Path(root))
        for kind in wanted:
            with tempfile.TemporaryDirectory(dir=root) as place:
                found = tried(kind, tokenizer, data, Path(place))
            faults += found.startswith("FAULT")
            rows.append((kind, found))
            print(f"{kind:28} {found}", flush=True)
    if options.out is not None:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("family", "result"), *rows])
    print(f"{len(wanted)} families, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
