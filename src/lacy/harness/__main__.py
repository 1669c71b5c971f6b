"""``python -m lacy.harness``: lm-eval's own command line, which then knows the model ``lacy``.

lm-eval up to 0.4.13 does not look for models of other packages; later releases find ``lacy`` by its
entry point, and ``lm_eval --model lacy`` does the same.
"""

from lm_eval.__main__ import cli_evaluate

from lacy.harness import lm  # noqa: F401 (registers the model)

if __name__ == "__main__":
    cli_evaluate()
