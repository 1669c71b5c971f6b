"""YAML and JSON with bounds; words as YAML 1.2 has them."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lacy._parse import parse_json, parse_yaml
from lacy.config import read_yaml
from lacy.errors import LacyError

NESTED = "".join(" " * level + "a:\n" for level in range(300))
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"), ("a: Off", "Off"), ("a: y", "y"), ("a: true", True), ("a: False", False),
        ("a: 2024-01-01", "2024-01-01"), ("a: 12:30", "12:30"), ("a: 010", 10), ("a: 0x10", 16),
        ("a: 0o17", 15), ("a: 1_000", 1000), ("a: -3", -3), ("a: 1.50", 1.5), ("a: 1e-3", "1e-3"),
        ("a: ~", None), ("a: null", None), ("a: '1'", "1"), ("a: =", "="),
        ("a: [on, 1]", ["on", 1]),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    found = parse_yaml(text)[0]["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("name", ["no", "on", "yes", "1", "1.0", "null", "~", "2024-01-01", "true"])
def test_keys_are_text_as_written(name):
    assert parse_yaml(f"{name}: x")[0] == {name: "x"}


def test_merged_keys_are_merged():
    text = "base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3"
    assert parse_yaml(text)[0]["mine"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[" * 100_000, "levels deep"), ("{a: " * 50_000, "levels deep"), ("- " * 50_000, "levels"),
        (NESTED, "levels deep"), ("a: " + "[" * 150 + "]" * 150, "levels deep"),
        (LAUGHS, "expands to more than"), (MERGES, "expands to more than"),
        ("a: &a [*a]", "refers to its own parent"), ("&a {b: {c: *a}}", "refers to its own parent"),
        ("a: &a\n  <<: *a", "refers to its own parent"),
        ("#" * 1_000_001, "more than 1,000,000 characters"),
        ("a: !!int x", "int"), ("a: !!bool x", "tag"), ("a: !!timestamp x", "tag"),
        ("a: !!float ''", "tag"), ("a: !!python/object:os.system x", "constructor"),
        ("a: " + "1" * 5_000, "digits"), ("? [a]\n: 1", "a key must be text"),
        ("a: *b", "undefined"),
        ("a: \0", "special characters"), ("--- 1\n--- 2", "single document"),
    ],
)  # fmt: skip
def test_invalid_or_too_large_yaml_is_an_error_with_a_reason(tmp_path, text, part):
    with pytest.raises(ValueError, match=part):
        parse_yaml(text)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LacyError, match=part) as caught:
        read_yaml(tmp_path / "s.yaml")
    assert caught.value.code == "E15" and len(str(caught.value)) < 1_000


WORD = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(WORD),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abno1"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abno1~"), VALUES, max_size=4))
def test_yaml_written_by_pyyaml_is_read_back(value):
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True))[0] == value


@given(st.text(st.sampled_from("ab:[]{}&*!-?|>'\"#%@,\n 0~<"), max_size=30))
def test_any_yaml_gives_a_value_or_a_value_error(text):
    try:
        parse_yaml(text)
    except ValueError:
        return


@given(VALUES)
def test_json_is_parsed_as_by_the_standard_library(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 150 + "]" * 150, "[", ""])
def test_json_that_is_too_deep_or_none_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"levels deep|Expecting"):
        parse_json(text)
