"""lm-eval's description of the machine, made once."""

from helpers.harness import one_description  # noqa: F401 (fixture)
