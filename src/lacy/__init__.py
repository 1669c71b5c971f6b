"""Small language models that know what to learn and when to call for help."""

__version__ = "0.1.0"
