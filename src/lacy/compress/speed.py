"""Speed and memory of a stage, each in the runtime that its files are for."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy._children import ProcessFailed, run_fresh
from lacy.errors import LacyError
from lacy.results import Score

PROMPT_TOKENS, NEW_TOKENS, REPEAT = 16, 48, 8
"""Length of the prompt and of the text after it, and the number of repetitions."""

PROMPT = "The river flows past the town and into the sea."
"""Prompt for llama.cpp, which counts its tokens itself."""

SECONDS = 900.0
"""Time limit of the process that runs llama.cpp."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed of generating one text, and peak memory of a fresh process that does."""

    decode: Score
    """Tokens per second after the prompt was read."""
    memory: Score
    """Bytes; NaN if the process failed, or on systems that do not tell."""
    runtime: str


def engine_speed(loaded: Any, path: str | Path, runtime: str, dtype: str = "fp32") -> Speed:
    """Measure a model folder in lacy's engine, with one text at a time.

    Args:
        loaded: the open model.
        path: its folder, which a fresh process opens to measure memory.
        runtime: what computes its logits.
        dtype: precision of the weights.
    """
    from lacy.cascade import Engine
    from lacy.efficiency import peak_memory, quantile, time_requests, timed_prompts

    engine = Engine(loaded, policy="never")
    prompts = timed_prompts(engine, 1, PROMPT_TOKENS)
    timings = time_requests(
        engine, prompts, new_tokens=NEW_TOKENS, repeat=REPEAT, warm_up=1, batch_size=1, batches=0
    )
    decode = quantile([timing.decode for timing in timings.single], 0.5, "tokens per second")
    try:
        found = peak_memory(path, prompt_tokens=PROMPT_TOKENS, new_tokens=NEW_TOKENS, dtype=dtype)
        peak = float(found.peak)
    except LacyError:
        peak = math.nan
    return Speed(decode, _bytes(peak), f"{runtime}, {dtype}")


def llama_cpp_speed(path: str | Path, threads: int) -> Speed:
    """Measure a GGUF file in llama.cpp (package ``xllamacpp``), in a fresh process.

    Args:
        path: the file.
        threads: number of CPU threads.

    Raises:
        LacyError: E321, llama.cpp cannot run the file.
    """
    from lacy.efficiency import quantile

    try:
        found = run_fresh("lacy.compress.speed", [str(path), str(threads)], SECONDS)
    except ProcessFailed as failed:
        raise LacyError("E321", path=path, why=failed) from failed
    decode = quantile(found["decode"], 0.5, "tokens per second")
    return Speed(decode, _bytes(found["peak"]), f"llama.cpp, {threads} threads")


def _bytes(value: float) -> Score:
    return Score(value, math.nan, math.nan, 1, "bytes")


def _run_llama_cpp(path: str, threads: int) -> dict[str, Any]:
    """Generate texts with llama.cpp in this process, and return its own timings."""
    import xllamacpp

    from lacy.efficiency import resident

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = path, 256, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    rates = []
    for number in range(REPEAT + 1):
        answer = server.handle_completions(
            {
                "prompt": PROMPT, "max_tokens": NEW_TOKENS, "temperature": 0.0,
                "ignore_eos": True, "cache_prompt": False,
            }
        )  # fmt: skip
        if "timings" not in answer:
            sys.exit(f"the server answered {answer}")
        if number:  # the first one warms up
            rates.append(answer["timings"]["predicted_per_second"])
    return {"decode": rates, "peak": resident(peak=True)}


if __name__ == "__main__":
    print(json.dumps(_run_llama_cpp(sys.argv[1], int(sys.argv[2]))), flush=True)
    os._exit(0)  # the server's threads would delay the end
