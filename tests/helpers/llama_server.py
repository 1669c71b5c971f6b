"""llama.cpp's own server, if it is installed."""

from importlib.util import find_spec

import pytest
from llama_server import llama_server as llama_server

needs_llama = pytest.mark.skipif(
    find_spec("xllamacpp") is None, reason="needs llama.cpp: pip install xllamacpp"
)
