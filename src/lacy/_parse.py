"""Parse YAML and JSON with limits on depth and size.

YAML is parsed as version 1.2: ``no``, ``on`` and dates are strings, ``true`` and ``false`` are the
only booleans, 010 is ten, and the keys of mappings are strings, exactly as written.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

MAX_CHARACTERS = 1_000_000
"""Maximum characters of a YAML file; parsing this many takes about ten seconds."""

MAX_VALUES = 100_000
"""Maximum number of values in a YAML file; values repeated by aliases count each time."""

MAX_DEPTH = 100
"""Maximum nesting of mappings and lists."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is not JSON, or it is nested more than ``MAX_DEPTH`` levels deep.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level, depth = [found], 0
    while level:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
    return found


def parse_yaml(text: str) -> tuple[Any, Any]:
    """Parse one YAML document.

    Returns:
        The value, and PyYAML's tree of nodes (for line numbers).

    Raises:
        ValueError: the text is not YAML, or exceeds the limits of this module.
    """
    import yaml

    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS:,} characters")
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _expanded_size(node, 0, {})
        return loader.construct_document(node), node
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise _too_deep() from None
    except (LookupError, ArithmeticError, AttributeError, TypeError) as error:
        # PyYAML's constructors raise these if a value does not match its tag: !!int "x"
        raise ValueError(f"a value does not fit its tag ({error})") from error


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _expanded_size(node: Any, depth: int, known: dict[int, int | None]) -> int:
    """Return the number of values that a node expands to, counting those repeated by aliases.

    Raises:
        ValueError: there are too many values, it is nested too deep, or a node contains itself.
    """
    if depth > MAX_DEPTH:
        raise _too_deep()
    key = id(node)
    if key in known:
        size = known[key]
        if size is None:
            raise ValueError(f"line {node.start_mark.line + 1}: an alias refers to its own parent")
        return size
    known[key] = None
    parts = node.value if isinstance(node.value, list) else []
    size = 1
    for part in parts:
        for inner in part if isinstance(part, tuple) else (part,):
            size += _expanded_size(inner, depth + 1, known)
    if size > MAX_VALUES:
        raise ValueError(f"it expands to more than {MAX_VALUES:,} values")
    known[key] = size
    return size


@functools.cache
def _loader() -> Any:
    """Return a subclass of PyYAML's safe loader with the scalars of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            """Build a mapping with keys that are strings exactly as written."""
            self.flatten_mapping(node)
            found = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    why = (
                        f"line {key.start_mark.line + 1}: a key must be text, not a list or mapping"
                    )
                    raise yaml.YAMLError(why)
                found[key.value] = self.construct_object(value, deep=deep)
            return found

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in found if tag.rpartition(":")[2] not in _CHANGED_TAGS]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def integer(loader: Any, node: Any) -> int:
        text = loader.construct_scalar(node).replace("_", "")
        return int(text, 0 if re.match(r"[-+]?0[xob]", text) else 10)

    for tag, form, first in _SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(form), list(first))
    Loader.add_constructor("tag:yaml.org,2002:int", integer)
    return Loader


_CHANGED_TAGS = ("bool", "int", "float", "timestamp", "value")
"""Tags of plain scalars that YAML 1.2 removed or changed."""

_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
              r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+0123456789."),
)  # fmt: skip
"""Scalars of YAML 1.2: tag, pattern and possible first characters."""
