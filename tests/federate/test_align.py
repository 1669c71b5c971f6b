"""Clients that sanitise preference pairs and train with DPO, in a federation."""

import numpy as np
import torch

from lacy.federate import FederateSettings, FederationServer, InProcess, Payload
from lacy.model import Loaded, build_model
from lacy.safety import AlignClient, AlignSettings, PreferencePair
from lacy.testing import byte_tokenizer


class FlagsPoison:
    """Flags what says poison."""

    def prompt_scores(self, prompts):
        return np.array([float("poison" in prompt) for prompt in prompts])

    def answer_scores(self, prompts, answers):
        return self.prompt_scores(answers)

    def threshold(self, role):
        return 0.5


def pairs(count, prompt):
    return [PreferencePair(f"{prompt} {n}?", f"Yes, {n}.", "No.", id=str(n)) for n in range(count)]


def test_flagged_samples_are_counted_and_a_client_without_any_left_changes_nothing():
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64, seed=0)
    settings = FederateSettings(rounds=2, lora_rank=2)
    payload = Payload(Loaded(model, tokenizer, name="tiny"), settings)
    how = AlignSettings(lr=0.01, batch=2, prompt_tokens=24, reply_tokens=16)
    samples = {"good": pairs(3, "Tell me"), "bad": pairs(2, "Where is poison")}
    clients = {
        name: AlignClient(
            name, model, tokenizer, each, how, guard=FlagsPoison(), mode="drop",
            fingerprint=payload.fingerprint,
        )
        for name, each in samples.items()
    }  # fmt: skip
    begin = payload.state()
    server = FederationServer(begin, settings, model=payload.fingerprint)
    while not server.finished:
        done = server.run_round(InProcess(clients))
        assert done.accepted == ["good"] and "no training samples" in done.refused["bad"]
        assert done.counts["seen"] == 5 and done.counts["flagged"] == 2
        assert done.counts["dropped"] == 2
    losses = [done.metrics["loss"] for done in server.rounds]
    assert losses[1] < losses[0]
    row = next(name for name in begin if "lora" not in name)
    assert torch.equal(server.state[row], begin[row])
