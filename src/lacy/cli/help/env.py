"""``lacy help env``: versions and machine, to paste into a bug report."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass

from lacy.run import environment, flatten


@dataclass
class EnvConfig:
    """Print versions, machine and device, to paste into a bug report. Nothing is sent anywhere."""

    json: bool = False
    """Print JSON instead of Markdown lines."""


FILE = False
FLAGS = EnvConfig
EXAMPLES = """
lacy help env
"""


def run(config: EnvConfig) -> int:
    """Print the environment as Markdown lines or JSON."""
    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401  (so that the device is known)
    found = environment()
    if config.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in flatten(found).items():
            print(f"- {name}: {'not installed' if value is None else value}")
    return 0
