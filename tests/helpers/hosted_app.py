"""An OpenAI-compatible completions server over a transformers model, for tests of hosted models.

Speaks like vLLM (token ids in and out, ``prompt_logprobs``), as its documentation says; every
answer is computed from the whole text anew. Knows nothing of lacy's own client.
"""

import contextlib
import json
import socket
import threading
import time

import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.models import SCRATCH
from lacy.model import save_model
from lacy.testing import byte_tokenizer

CALL = "<CALL>"
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def talker(folder):
    """A model of random weights that says letters, calls now and then, and sometimes ends."""
    torch.manual_seed(5)
    tokenizer = byte_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=96, bos_token_id=0, eos_token_id=0,
        pad_token_id=None, tie_word_embeddings=False,
    )).eval()  # fmt: skip
    spoken = [tokenizer.encode(c)[0] for c in LETTERS]
    head = model.lm_head.weight.data
    silent = torch.ones(len(tokenizer), dtype=torch.bool)
    silent[[*spoken, 0, len(tokenizer) - 1]] = False
    head[silent] = 0.0
    head[spoken] *= 30.0
    head[0] *= 28.0
    head[-1] *= 45.0
    return save_model(folder, model, tokenizer, SCRATCH)


class Engine:
    """The model, and what a request makes of its logits."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.call_id, self.end_id = len(tokenizer) - 1, tokenizer.eos_token_id
        self.bodies, self.streams, self.lock = [], 0, threading.Lock()
        self.refuses_ids = self.tells_pieces = False
        """Whether it takes no token ids (as llama.cpp's Python server), or reports texts."""
        self.gone = False
        """Whether every request fails, and every stream breaks off."""
        self.filtered = None
        """Tokens after which a filter breaks every answer off."""
        self.longest = 1 << 30
        """Tokens after which every stream breaks off."""

    def logits(self, ids):
        with torch.inference_mode():
            return self.model(torch.tensor([ids])).logits[0].float()

    def tokenize(self, prompt):
        if isinstance(prompt, list):
            if self.refuses_ids:
                raise HTTPException(500, "Input should be a valid string")
            return list(prompt)
        return [0, *self.tokenizer.encode(prompt, add_special_tokens=False)]

    def generate(self, ids, body):
        """New tokens and why they ended; logits are biased, log-probabilities are not."""
        bias = {int(k): v for k, v in (body.get("logit_bias") or {}).items()}
        draw = torch.Generator().manual_seed(body.get("seed") or 0)
        stops = set(body.get("stop_token_ids") or ())
        heat = body.get("temperature", 1.0)
        new, told = [], []
        for n in range(body.get("max_tokens") or 16):
            if n == self.filtered:
                return new, told, "content_filter", None
            logits = self.logits([*ids, *new])[-1]
            told.append(torch.log_softmax(logits, -1))
            biased = logits.clone()
            for token, by in bias.items():
                biased[token] += by
            if heat:
                token = int(torch.multinomial(torch.softmax(biased / heat, -1), 1, generator=draw))
            else:
                token = int(biased.argmax())
            new.append(token)
            if token == self.end_id:
                return new, told, "stop", None
            if token in stops:
                return new, told, "stop", token
        return new, told, "length", None

    def stream(self, body):
        """Server-sent events, a token each, as vLLM sends them."""
        self.bodies.append(body)
        ids, said = self.tokenize(body["prompt"]), []
        most = body.get("max_tokens") or 16
        self.streams += 1
        try:
            for n in range(most):
                with self.lock:
                    if self.gone or n == self.longest:
                        return
                    step = {**body, "max_tokens": 1, "seed": (body.get("seed") or 0) + n}
                    (token,), (logp,), why, stopped = self.generate([*ids, *said], step)
                said.append(token)
                why = why if why == "stop" or n + 1 == most else None
                name = self.name(token)
                logprobs = {"tokens": [name], "token_logprobs": [float(logp[token])]}
                logprobs["top_logprobs"] = [self.shown(logp, token, body.get("logprobs") or 0)]
                choice = {"index": 0, "text": self.text([token]), "logprobs": logprobs}
                choice |= {"finish_reason": why, "stop_reason": stopped}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
                if why:
                    break
            yield "data: [DONE]\n\n"
        finally:
            self.streams -= 1

    def text(self, ids):
        """Text of tokens; ``<CALL>`` is visible, the end is not, halves of characters vanish."""
        out, run = "", []
        for token in [*ids, self.call_id]:
            if token in (self.call_id, self.end_id):
                raw = self.tokenizer.decode(run)
                out += raw.replace("\ufffd", "") + (CALL if token == self.call_id else "")
                run = []
            else:
                run.append(token)
        return out.removesuffix(CALL)

    def name(self, token):
        return self.text([token]) if self.tells_pieces else f"token_id:{token}"

    def shown(self, logp, token, count):
        top = torch.topk(logp, min(count, len(logp)))
        named = {}
        for value, n in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            named[self.name(n)] = value
        named[self.name(token)] = float(logp[token])
        return named

    def complete(self, body):
        self.bodies.append(body)
        ids = self.tokenize(body["prompt"])
        new, told, why, stopped = self.generate(ids, body)
        count = body.get("logprobs") or 0
        choice = {"index": 0, "text": self.text(new), "finish_reason": why, "stop_reason": stopped}
        choice["logprobs"] = {
            "tokens": [self.name(n) for n in new],
            "token_logprobs": [float(p[n]) for n, p in zip(new, told, strict=True)],
            "top_logprobs": [self.shown(p, n, count) for n, p in zip(new, told, strict=True)],
        }
        if body.get("prompt_logprobs") is not None:
            past = torch.log_softmax(self.logits(ids), -1)
            choice["prompt_logprobs"] = [None]
            for token, p in zip(ids[1:], past, strict=False):
                top = torch.topk(p, body["prompt_logprobs"]).indices.tolist()
                choice["prompt_logprobs"].append(
                    {str(n): {"logprob": float(p[n]), "rank": 1} for n in {*top, token}}
                )
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(new)}
        return {"object": "text_completion", "choices": [choice], "usage": usage}


@contextlib.contextmanager
def serving(model, tokenizer):
    """The address of a running server, and its engine."""
    engine = Engine(model, tokenizer)
    app = FastAPI()

    @app.get("/v1/models")
    def models():
        return {"data": [{"id": "/models/slm.gguf", "object": "model"}]}

    @app.post("/v1/completions")
    def completions(body: dict):
        if body.get("stream"):
            return StreamingResponse(engine.stream(body), media_type="text/event-stream")
        with engine.lock:
            if engine.gone:
                raise HTTPException(503, "out of memory")
            return engine.complete(body)

    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{place.getsockname()[1]}/v1", engine
    finally:
        server.should_exit = True
        thread.join(timeout=120)
        place.close()
