"""Memory of a model by stage, in a fresh process that nothing else has used before.

``python -m lacy.vocabulary.memory JSON`` is that process: it loads the model, tailors its head,
reads a prompt, generates, and prints the memory after each stage. Two kinds are told apart: pages
that belong to the process alone, and pages of files, such as the rows that stay in the model's
file, which the operating system drops when memory is short.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lacy._children import ProcessFailed, run_fresh
from lacy.errors import LacyError

SECONDS = 900.0
"""Time limit of the process."""


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes of memory after a stage."""

    stage: str
    """``imported``, ``loaded``, ``tailored``, ``prefilled`` or ``generated``."""
    own: int
    """Pages that belong to the process alone (Linux: RssAnon)."""
    files: int
    """Pages of files (RssFile)."""


def memory_by_stage(
    model: str | Path,
    vocabulary: str | None = None,
    *,
    fallback: str = "exact",
    offload: bool = False,
    prompt_tokens: int = 128,
    new_tokens: int = 32,
) -> list[StageMemory]:
    """Measure the memory of a model in a fresh process.

    Args:
        model: name of a model as in ``lacy.model.load_model``.
        vocabulary: as in ``open_vocabulary``; None leaves the head as it is.
        fallback: as in ``parse_fallback``.
        offload: as in ``tailor``.
        prompt_tokens: length of the prompt.
        new_tokens: number of generated tokens.

    Raises:
        LacyError: E277, the process failed, or the system is not Linux.
    """
    settings = {
        "model": str(model), "vocabulary": vocabulary, "fallback": fallback, "offload": offload,
        "prompt_tokens": prompt_tokens, "new_tokens": new_tokens,
    }  # fmt: skip
    try:
        stages = run_fresh("lacy.vocabulary.memory", [json.dumps(settings)], SECONDS)
    except ProcessFailed as failed:
        raise LacyError("E277", model=model, why=failed) from failed
    return [StageMemory(**stage) for stage in stages]


def _now(stage: str) -> StageMemory:
    """Return the memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: line.split() for line in lines if line.startswith("Rss")}
    return StageMemory(stage, *(int(sizes[name][1]) * 1024 for name in ("RssAnon", "RssFile")))


def _measure(settings: dict[str, Any]) -> list[StageMemory]:
    """Load, tailor and generate in this process."""
    import torch
    import transformers  # noqa: F401 (its memory is that of the first stage)

    from lacy.model import Decoder, load_model
    from lacy.vocabulary import open_vocabulary, parse_fallback, tailor

    torch.set_num_threads(1)
    stages = [_now("imported")]
    loaded = load_model(settings["model"])
    loaded.model.eval()
    stages.append(_now("loaded"))
    if settings["vocabulary"] is not None:
        vocabulary, mode = open_vocabulary(settings["vocabulary"], loaded.tokenizer)
        tailor(
            loaded, vocabulary, mode, fallback=parse_fallback(settings["fallback"]),
            offload=settings["offload"],
        )  # fmt: skip
        stages.append(_now("tailored"))
    decoder = Decoder(loaded.model, call_id=loaded.call_id)
    size = len(loaded.tokenizer)
    logits_BV = decoder.feed([[n * 7 % size for n in range(settings["prompt_tokens"])]])
    stages.append(_now("prefilled"))
    for _ in range(settings["new_tokens"]):
        logits_BV = decoder.step(logits_BV[:, :-1].argmax(-1))
    stages.append(_now("generated"))
    return stages


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print(json.dumps([asdict(stage) for stage in _measure(json.loads(sys.argv[1]))]))
