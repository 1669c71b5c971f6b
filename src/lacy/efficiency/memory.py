"""Peak memory of a model in a fresh process, which nothing else has used before.

``python -m lacy.efficiency.memory MODEL PROMPT_TOKENS NEW_TOKENS DTYPE`` is that process: it loads
the model, generates once and prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lacy._children import ProcessFailed, run_fresh
from lacy.errors import LacyError

MIB = 2**20
SECONDS = 900.0
"""Time limit of the process."""


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Bytes of memory of a process that loads a model and generates once."""

    imports: int
    """Resident memory with all packages imported, before the model is loaded."""
    loaded: int
    """Resident memory with the model loaded."""
    peak: int
    """Largest resident memory until the text has been generated."""
    cuda_peak: int
    """Largest memory of the GPU; 0 without one."""


def peak_memory(
    model: str | Path, *, prompt_tokens: int, new_tokens: int, dtype: str = "fp32"
) -> PeakMemory:
    """Measure the memory of a model in a fresh process.

    Args:
        model: name of a model as in ``lacy.model.load_model``.
        prompt_tokens: length of the prompt.
        new_tokens: number of generated tokens.
        dtype: precision of the weights, as in ``lacy.model.set_precision``.

    Raises:
        LacyError: E249, the process failed, such as by running out of memory.
    """
    arguments = [str(model), str(prompt_tokens), str(new_tokens), dtype]
    try:
        return PeakMemory(**run_fresh("lacy.efficiency.memory", arguments, SECONDS))
    except ProcessFailed as failed:
        raise LacyError("E249", model=model, why=failed) from failed


def resident(peak: bool = False) -> int:
    """Return the resident memory of this process in bytes, now or at most."""
    try:
        # ru_maxrss would include the memory of the process that started this one.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        name = "VmHWM:" if peak else "VmRSS:"
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        import resource

        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else size * 1024


def _measure(model: str, prompt_tokens: int, new_tokens: int, dtype: str) -> PeakMemory:
    """Load the model and generate once, in this process."""
    import torch

    from lacy.cascade import Engine
    from lacy.efficiency.timing import timed_prompts
    from lacy.model import set_precision
    from lacy.runtimes import open_local

    imports = resident()
    loaded = open_local(model)
    if isinstance(loaded.model, torch.nn.Module):
        set_precision(loaded.model, dtype)  # type: ignore[arg-type]
    if torch.cuda.is_available():
        loaded.model.to("cuda")  # type: ignore[arg-type]
    with_model = resident()
    engine = Engine(loaded, policy="never", max_new_tokens=new_tokens)
    engine = engine.variant(min_new_tokens=new_tokens)
    engine.generate(timed_prompts(engine, 1, prompt_tokens))
    cuda = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return PeakMemory(imports, with_model, resident(peak=True), cuda)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    name, prompt, new, precision = sys.argv[1:]
    print(json.dumps(asdict(_measure(name, int(prompt), int(new), precision))))
