"""Create and read run folders, which record how a result was made.

A run folder contains ``config.yaml`` (the settings), ``environment.json`` (versions, device,
commit), ``metrics.jsonl`` (one JSON object per line, flushed after each line) and ``README.md``
(the model card). Files are written atomically with ``lacy.disk``.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy._text import json_safe
from lacy.disk import replace_folder as replace_folder
from lacy.disk import write_atomic as write_atomic
from lacy.errors import LacyError

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "spacy", "numpy")


CONFIG_FILE = "config.yaml"
"""Name of the file with the settings of a run."""


class Run:
    """A run folder, created or reopened.

    Args:
        folder: the folder; created if needed.
        config: the settings, as a dataclass or mapping. If the folder already contains settings,
            they must be equal except for ``may_differ``.
        may_differ: names (dotted if nested) of settings that may change when a run is continued,
            such as the number of steps; the newest values are stored.

    Raises:
        LacyError: E17, the folder contains a run with different settings; nothing is written.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Any = None,
        *,
        may_differ: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise LacyError("E16", path=self.folder)
        if config is not None:
            require_same_run(self.folder, config, may_differ=may_differ)
        self.folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            write_atomic(self.config_file, _as_yaml(config))
        _drop_incomplete_line(self.metrics_file)

    @property
    def config_file(self) -> Path:
        """Path of the settings."""
        return self.folder / CONFIG_FILE

    @property
    def environment_file(self) -> Path:
        """Path of the file with versions and machine."""
        return self.folder / "environment.json"

    @property
    def metrics_file(self) -> Path:
        """Path of the metrics, one JSON object per line."""
        return self.folder / "metrics.jsonl"

    @property
    def card_file(self) -> Path:
        """Path of the card, which describes the run."""
        return self.folder / "README.md"

    def write_environment(self, **extra: Any) -> dict[str, Any]:
        """Write ``environment.json`` and return its content."""
        found = {**environment(), **extra}
        write_atomic(self.environment_file, json.dumps(found, indent=2) + "\n")
        return found

    def log(self, **values: Any) -> None:
        """Append one line to the metrics; NaN and infinities are written as null."""
        line = json.dumps(json_safe(values))
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return all rows of the metrics."""
        return read_metrics(self.metrics_file)

    def rewind(self, step: int) -> None:
        """Drop metrics after ``step``; a run that resumes there writes them again."""
        kept = [row for row in self.metrics() if row.get("step", step) <= step]
        write_atomic(self.metrics_file, "".join(json.dumps(row) + "\n" for row in kept))

    def card(self, title: str, facts: Mapping[str, Any], body: str = "") -> None:
        """Write the card as Markdown with the front matter that the Hub reads.

        Args:
            title: the heading.
            facts: values by name, shown as a table.
            body: more Markdown below it.
        """
        rows = "".join(f"| {key} | {value} |\n" for key, value in facts.items())
        table = f"| | |\n|---|---|\n{rows}\n" if rows else ""
        front = "---\nlibrary_name: transformers\ntags:\n- lacy\n---\n\n"
        write_atomic(self.card_file, f"{front}# {title}\n\n{table}{body}".rstrip() + "\n")


def require_same_run(folder: str | Path, config: Any, *, may_differ: Collection[str] = ()) -> None:
    """Raise E17 if a folder contains a run with different settings; nothing is written.

    ``Run`` checks this, too. What prepares a run in its folder calls it first, and makes the
    ``Run`` when its inputs are known to be usable: otherwise a mistake would become the settings
    of the folder, and the corrected command would be refused.

    Args:
        folder: the folder of the run; it may not exist.
        config: the settings: a dataclass or a mapping.
        may_differ: names (dotted if nested) of settings that may change.

    Raises:
        LacyError: E17, as above.
    """
    from lacy.config import read_yaml

    file = Path(folder) / CONFIG_FILE
    if not file.exists():
        return
    old = flatten(read_yaml(file)[0])
    new = flatten(_as_dict(config))
    # A setting that did not exist in an older version counts as its current default.
    old = {**{key: value for key, value in _defaults(config).items() if key in new}, **old}
    changed = [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and key not in may_differ
    ]
    if changed:
        listed = "; ".join(changed[:5]) + ("; ..." if len(changed) > 5 else "")
        raise LacyError("E17", folder=Path(folder), changed=listed)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read a metrics file; an incomplete last line, left by a killed process, is ignored.

    Raises:
        LacyError: E18, another line is not JSON.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            if number == len(lines):  # it has no newline
                break
            raise LacyError("E18", path=path, line=number) from error
        rows.append(row)
    return rows


def _drop_incomplete_line(path: Path) -> None:
    """Remove an incomplete last line, so that the next line is not appended to it."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def _as_dict(config: Any) -> dict[str, Any]:
    from lacy.config import to_dict

    return dict(config) if isinstance(config, Mapping) else to_dict(config)


def _defaults(config: Any) -> dict[str, Any]:
    """Return the defaults of a dataclass of settings, flattened; a mapping has none."""
    return {} if isinstance(config, Mapping) else flatten(_as_dict(type(config)()))


def _as_yaml(config: Any) -> str:
    from lacy.config import dump_commented

    if not isinstance(config, Mapping):
        return dump_commented(config)
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted keys: ``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def environment() -> dict[str, Any]:
    """Return everything besides the settings that influences results: versions, machine and code.

    To be fast, versions come from package metadata, and the device from torch only if torch is
    already imported. Host and user names are not included.
    """
    found: dict[str, Any] = {
        "lacy": _version("lacy"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": _device(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    commit = _commit()
    if commit:
        found["commit"] = commit
    return found


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return platform.processor() or platform.machine()


@functools.cache
def _commit() -> str | None:
    """Return the commit of lacy's source, with ``+`` if files have changed; None outside git.

    Found once: what this process has imported stays as it is.
    """
    here = Path(__file__).parent

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        if not git("ls-files", Path(__file__).name):  # inside another project's repository
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--short") else "")
    except (OSError, subprocess.SubprocessError):
        return None
