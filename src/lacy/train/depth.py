"""Choose how much of a model is trained, and the settings that depend on it; needs no torch."""

from __future__ import annotations

import re

DEPTHS = ("full", "lora", "last=N", "norms", "row")
"""The depths, from everything to the ``<CALL>`` row alone."""

PRESET_LR, LARGE_PRESET_LR, LARGE = 3e-3, 5e-4, 300_000_000
"""Peak learning rates of new models; those above ``LARGE`` parameters need the smaller one."""

TIMES_FULL = {"full": 1.0, "last": 3.0, "lora": 10.0, "norms": 10.0, "row": 30.0}
"""Learning rate of each depth relative to full training of the same pretrained model. Factor 10 for
LoRA is the optimum that Schulman et al. found across models and data ("LoRA Without Regret", 2025).
"""

TOO_HIGH = 10.0
"""A rate this many times the recommended one gets a warning."""


def parse_depth(text: str) -> tuple[str, int]:
    """Return the kind of a depth (the word before any ``=``) and its layers, or 0.

    Raises:
        ValueError: there is no such depth.
    """
    if text in ("full", "lora", "norms", "row"):
        return text, 0
    match = re.fullmatch(r"last=([1-9]\d{0,3})", text)
    if match is None:
        raise ValueError(f"depth is {text!r}, choose one of {', '.join(DEPTHS)} (last=2)")
    return "last", int(match.group(1))


def choose_lr(depth: str, parameters: int, *, pretrained: bool) -> tuple[float, str]:
    """Return the peak learning rate for a model, and a sentence that explains it.

    A pretrained model gets 1e-3 divided by the square root of its millions of parameters
    (135M: 9e-5), between 1e-5 and 1e-3, times ``TIMES_FULL`` of the depth.

    Args:
        depth: what is trained.
        parameters: number of parameters of the whole model.
        pretrained: the run starts from trained weights.
    """
    size = f"{parameters / 1e6:,.3g}M parameters"
    if not pretrained:
        lr = LARGE_PRESET_LR if parameters >= LARGE else PRESET_LR
        return lr, f"learning rate {lr:g}: a new model of {size}"
    full = min(1e-3, max(1e-5, 1e-3 * (1e6 / max(1, parameters)) ** 0.5))
    lr = float(f"{full * TIMES_FULL[parse_depth(depth)[0]]:.1g}")
    return lr, f"learning rate {lr:g}: depth {depth} of a pretrained model of {size}"
