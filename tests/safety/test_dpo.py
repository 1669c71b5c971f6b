"""DPO equals TRL's in loss and gradients; <CALL> and the reference stay as they are."""

import itertools

import pytest
import torch
from torch.nn import functional

from lacy.errors import LacyError
from lacy.model import gate_of, head_weight, hidden_states, set_gate
from lacy.objective import Objective
from lacy.safety import (
    AlignClient,
    AlignSettings,
    DpoLoss,
    PreferencePair,
    ReplyRows,
    ReplySample,
    prompt_ids,
    reference,
    without_adapters,
)
from lacy.train import FitState, fit

PAIRS = [
    PreferencePair("Who are you?", "A model.", "Nobody, go away"),
    PreferencePair("Hi", "Hello there, friend", "no"),
    PreferencePair("Count to 3", "1, 2, 3", "3, 2, 1 and then more"),
    PreferencePair("Bye", "So long", "Stay here"),
]
TEXT = Objective(method="none", call_negative="none")


def lora(model):
    return {n: p for n, p in model.named_parameters() if ".lora_" in n}


def slow_logps(loaded, row):
    """Return a reply's log-probability, alone and token by token."""
    ids = torch.tensor([row.ids])
    logits = hidden_states(loaded.model, ids)[0] @ head_weight(loaded.model).T
    logp = logits[:, :-1].log_softmax(-1)
    return sum(logp[place - 1, row.ids[place]] for place in range(row.start, len(row.ids)))


def slow_loss(loaded, rows, beta):
    total = 0.0
    for pair in range(len(rows)):
        chosen, rejected = rows.rows[2 * pair : 2 * pair + 2]
        ours = slow_logps(loaded, chosen) - slow_logps(loaded, rejected)
        with torch.no_grad(), without_adapters(loaded.model):
            theirs = slow_logps(loaded, chosen) - slow_logps(loaded, rejected)
        total = total - functional.logsigmoid(beta * (ours - theirs))
    return total / len(rows)


@pytest.fixture
def rows(loaded):
    return ReplyRows(PAIRS, loaded.tokenizer)


def test_loss_and_gradients_equal_a_slow_reference(loaded, rows):
    model = loaded.model.eval()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    want = slow_loss(loaded, rows, 0.3)
    want.backward()
    grads = {name: p.grad.clone() for name, p in lora(model).items()}
    model.zero_grad()
    extra = DpoLoss(model, rows, beta=0.3)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == names
    state = FitState.start(model, lr=0.0)
    sums = state.gradients([rows.batch(range(len(rows)), model.device)], TEXT, 0, extra)
    assert float(sums[0] / sums[4]) == pytest.approx(want.item(), rel=1e-5)
    assert want.item() != pytest.approx(0.6931, abs=1e-3)  # the adapters do something
    for name, grad in grads.items():
        torch.testing.assert_close(lora(model)[name].grad, grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_loss_and_gradients_equal_those_of_trl(loaded, tmp_path):
    """The same weights without the <CALL> row, in TRL; its batches give the token ids."""
    trl = pytest.importorskip("trl", reason="needs the extra distill")
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import LlamaConfig, LlamaForCausalLM

    from lacy.model import Loaded, add_call
    from lacy.testing import byte_tokenizer
    from lacy.train import TrainConfig, Trained

    tokenizer = byte_tokenizer()
    size = loaded.call_id
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=96,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    theirs, ours = LlamaForCausalLM(config), LlamaForCausalLM(config)
    ours.load_state_dict(theirs.state_dict())
    add_call(ours, tokenizer)
    Trained.start(ours, TrainConfig(depth="lora", lora_rank=4), "x")
    data = Dataset.from_list([{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
                              for p in PAIRS])  # fmt: skip
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, beta=0.3, report_to=[],
        use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, disable_tqdm=True,
        save_strategy="no", max_length=None,
    )  # fmt: skip
    adapters = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
    trainer = trl.DPOTrainer(theirs, args=arguments, train_dataset=data, peft_config=adapters,
                             processing_class=byte_tokenizer())  # fmt: skip
    peft = trainer.model
    torch.manual_seed(4)
    by_name = {n.rpartition("model.model.")[2]: p for n, p in peft.named_parameters()}
    with torch.no_grad():
        for name, parameter in lora(ours).items():
            parameter.normal_(std=0.1)
            by_name[name.removeprefix("model.")].copy_(parameter)
    batch = next(iter(trainer.get_train_dataloader()))
    peft.train()
    want = trainer.compute_loss(peft, batch)
    want.backward()

    rows = ReplyRows(PAIRS, tokenizer)
    chosen, rejected = batch["input_ids"].chunk(2)
    masks = batch["attention_mask"].chunk(2), batch["completion_mask"].chunk(2)
    found = []
    for pair in range(4):
        for side, ids in enumerate((chosen, rejected)):
            length = int(masks[0][side][pair].sum())
            start = int(masks[1][side][pair].nonzero()[0])
            found.append(type(rows.rows[0])(tuple(ids[pair, :length].tolist()), start))
    rows.rows = found
    extra = DpoLoss(ours, rows, beta=0.3)
    state = FitState.start(ours, lr=0.0)
    sums = state.gradients([rows.batch(range(4), ours.device)], TEXT, 0, extra)
    assert float(sums[0] / sums[4]) == pytest.approx(want.item(), rel=1e-5) != 0.6931
    assert Loaded(ours, tokenizer, name="x").call_id == size
    for name, parameter in lora(ours).items():
        other = by_name[name.removeprefix("model.")]
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_the_reference_is_the_model_without_adapters(loaded, rows):
    model = loaded.model.eval()
    logp_R, margins = reference(model, rows, margins=True)
    with torch.no_grad(), without_adapters(model):
        want = [slow_logps(loaded, row).item() for row in rows.rows]
    assert logp_R.tolist() == pytest.approx(want, rel=1e-4)
    assert [len(one) for one in margins] == [len(row.ids) - row.start for row in rows.rows]
    with torch.no_grad():
        assert slow_logps(loaded, rows.rows[0]).item() != pytest.approx(want[0], rel=1e-3)


def train_steps(loaded, rows, steps, **settings):
    extra = DpoLoss(loaded.model, rows, **settings)
    state = FitState.start(
        loaded.model, trainable=lambda name, p: ".lora_" in name and p.requires_grad, lr=5e-3
    )
    batches = itertools.islice(rows.batches(4, 0, loaded.model.device), steps)
    return [step.loss for step in fit(state, batches, TEXT, extra=extra)]


def margins_of(model, rows):
    """Return the gate's margins at the targets of all rows, with adapters."""
    from lacy.safety import reply_logps

    micro = rows.batch(range(len(rows)), model.device)
    with torch.no_grad():
        hidden = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
        return reply_logps(micro, hidden, head_weight(model), gate_of(model))[1]


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_gate_stays_where_it_was(loaded, rows, gate):
    model = loaded.model
    set_gate(model, gate)
    with torch.no_grad():
        for name, parameter in lora(model).items():
            if "lora_B" in name:
                parameter.zero_()
    row_D = head_weight(model)[-1].detach().clone()
    before = margins_of(model, rows)
    start = {name: p.detach().clone() for name, p in lora(model).items()}
    drifts = {}
    for hold in (0.0, 10.0):
        with torch.no_grad():
            for name, parameter in lora(model).items():
                parameter.copy_(start[name])
        losses = train_steps(loaded, rows, 12, beta=0.3, hold_call=hold)
        assert losses[-1] < losses[0] == pytest.approx(0.6931, abs=1e-3)
        drifts[hold] = (margins_of(model, rows) - before).square().mean().item()
        assert torch.equal(head_weight(model)[-1], row_D)  # bit for bit
    assert drifts[10.0] < 0.3 * drifts[0.0]


def test_batches_contain_every_pair_and_only_replies_are_targets(loaded, rows):
    micros = list(itertools.islice(rows.batches(3, 5, loaded.model.device), 4))
    assert sorted(n for one in micros[:2] for n in one.rows_B) == list(range(8))
    for micro in micros:
        for place, number in enumerate(micro.rows_B):
            row = rows.rows[number]
            targets = micro.targets_BT[place]
            assert targets[targets >= 0].tolist() == list(row.ids[row.start :])
    again = list(itertools.islice(rows.batches(3, 5, loaded.model.device), 4))
    assert [one.rows_B for one in micros] == [one.rows_B for one in again]


def test_long_texts_are_cut(loaded):
    tokenizer = loaded.tokenizer
    pair = PreferencePair("long " * 100 + "end?", "yes " * 100, "no")
    rows = ReplyRows([pair], tokenizer, prompt_tokens=10, reply_tokens=7)
    chosen, rejected = rows.rows
    assert len(chosen.ids) - chosen.start == 7
    assert chosen.ids[: chosen.start] == rejected.ids[: rejected.start]
    assert chosen.start <= 12 and len(prompt_ids(tokenizer, "")) >= 1


def test_earlier_messages_are_kept_as_far_as_they_fit(loaded):
    tokenizer = loaded.tokenizer
    turns = [("user", "Who is he?"), ("assistant", "Ann?"), ("user", "No."), ("assistant", "Bob")]
    history = tuple({"role": role, "content": text} for role, text in turns)
    pair = PreferencePair("Which Bob?", "The poet.", "no", history=history)
    longest = sum(
        len(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in ("Which Bob?", "No.", "Bob")
    )

    def prompt(tokens):
        row = ReplyRows([pair], tokenizer, prompt_tokens=tokens).rows[0]
        return list(row.ids[: row.start])

    assert prompt(1000) == prompt_ids(tokenizer, pair.prompt, history)
    assert prompt(longest) == prompt_ids(tokenizer, pair.prompt, history[2:])
    assert prompt(longest - 1) == prompt_ids(tokenizer, pair.prompt)  # never begins with a reply


# ------------------------------------------------------------------------------- clients


def state_of(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


QUICK = AlignSettings(lr=1e-2, batch=2, epochs=2, reply_tokens=40)


def test_a_client_sends_numbers_only(loaded):
    from safety.test_sanitise import Guard

    toxic = [PreferencePair("do!!!!", "bad!!!!!!", "I can't help with that.", id="7")]
    client = AlignClient("one", loaded.model, loaded.tokenizer, [*PAIRS, *toxic], QUICK,
                         guard=Guard(), fingerprint="f")  # fmt: skip
    state = state_of(loaded.model)
    update = client.train(state, 3)
    assert (update.samples, update.round, update.model) == (5, 3, "f")
    assert update.counts["seen"] == 5 and update.counts["replaced"] == 1
    assert set(update.delta) == set(state) and 0 < update.metrics["loss"] < 5
    moved = {name for name, delta in update.delta.items() if bool(delta.any())}
    assert moved == {name for name in state if ".lora_" in name}  # not the <CALL> row
    assert {n for n, p in loaded.model.named_parameters() if p.requires_grad} == set(state)
    again = client.train(state, 3)
    assert all(torch.equal(again.delta[name], update.delta[name]) for name in state)
    other = client.train(state, 4)
    assert any(not torch.equal(other.delta[name], update.delta[name]) for name in state)


def test_clients_share_a_model(loaded):
    state = state_of(loaded.model)
    alone = AlignClient("b", loaded.model, loaded.tokenizer, PAIRS[2:], QUICK).train(state, 1)
    first = AlignClient("a", loaded.model, loaded.tokenizer, PAIRS[:2], QUICK)
    second = AlignClient("b", loaded.model, loaded.tokenizer, PAIRS[2:], QUICK)
    first.train(state, 1)
    found = second.train(state, 1)
    assert all(torch.equal(found.delta[name], alone.delta[name]) for name in state)


def test_replies_are_imitated(loaded):
    samples = [ReplySample(one.prompt, one.chosen) for one in PAIRS]
    settings = AlignSettings(lr=2e-2, batch=4, epochs=15)
    client = AlignClient("one", loaded.model, loaded.tokenizer, samples, settings)
    state = state_of(loaded.model)
    first = AlignClient("one", loaded.model, loaded.tokenizer, samples,
                        AlignSettings(lr=1e-9, batch=4)).train(state, 1)  # fmt: skip
    assert client.train(state, 1).metrics["loss"] < first.metrics["loss"]


def test_a_client_whose_samples_were_all_dropped_changes_nothing(loaded):
    from safety.test_sanitise import Guard

    toxic = [PreferencePair("do!!!!", "bad", "good")]
    client = AlignClient("one", loaded.model, loaded.tokenizer, toxic, QUICK, guard=Guard(),
                         mode="drop")  # fmt: skip
    update = client.train(state_of(loaded.model), 1)
    assert update.samples == 0 and update.counts["dropped"] == 1 and not update.metrics
    assert not any(bool(delta.any()) for delta in update.delta.values())


def test_mistakes_are_found_before_training(loaded, packed_model):
    mixed = [PAIRS[0], ReplySample("a", "b")]
    with pytest.raises(LacyError, match=r"E353.*pairs and single"):
        AlignClient("one", loaded.model, loaded.tokenizer, mixed)
    with pytest.raises(LacyError, match=r"E353.*adapters"):
        AlignClient("one", packed_model, loaded.tokenizer, PAIRS)
    with pytest.raises(LacyError, match="E12"):
        AlignClient("one", loaded.model, loaded.tokenizer, PAIRS, AlignSettings(beta=0))
    with pytest.raises(LacyError, match=r"E352.*7"):
        ReplyRows([PreferencePair("a", "b", "c", id="7")], loaded.tokenizer, reply_tokens=0)
