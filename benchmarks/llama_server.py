"""llama.cpp's own server for a GGUF file, from the wheel xllamacpp; the tests use it as well."""

import contextlib
import subprocess
import sys
import time

import httpx

PATIENCE = 300
"""Seconds after which the server counts as broken."""

SCRIPT = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.warmup = 4, False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = params.n_threads_http = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def llama_server(path, context=96):
    """Yield the address of a server for the GGUF file ``path``, without ``/v1``.

    It serves four texts of ``context`` tokens at the same time, in a separate process that ends
    when its standard input is closed.
    """
    words = [sys.executable, "-c", SCRIPT, str(path), str(4 * context)]
    running = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )  # fmt: skip
    try:
        address = next(line for line in running.stdout if line.startswith("http")).strip()
        end = time.monotonic() + PATIENCE
        while httpx.get(f"{address}/health", timeout=PATIENCE).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        yield address
    finally:
        running.stdin.close()
        running.wait(timeout=PATIENCE)
        running.stdout.close()
