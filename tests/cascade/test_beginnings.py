"""A text begins with the same token as in training, wherever a model reads it."""

import asyncio
import json

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lacy.annotate import encode
from lacy.cascade import Engine
from lacy.cascade.reference import ReferenceLikelihoods, ReferenceText
from lacy.cascade.scores import Scorer
from lacy.cascade.steps import read_along
from lacy.corpus import PackedData
from lacy.model import load_model, save_model
from lacy.model.building import from_checkpoint
from lacy.remote import LoopThread
from lacy.sources import LanguageModel
from lacy.testing import byte_tokenizer
from lacy.types import Document, Request

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
TEXT = "Mara Vell"


@pytest.fixture(
    params=[(None, END, None), (START, STOP, CHATML), (None, STOP, CHATML), (START, END, None)],
    ids=["no-bos", "smollm2", "qwen", "own-bos"],
)
def loaded(request, tmp_path):
    """A checkpoint from elsewhere, converted, saved and loaded again; its begin token as text."""
    bos, eos, template = request.param
    state = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    del state["model"]["vocab"]["<CALL>"]
    state["added_tokens"].pop()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token=bos, eos_token=eos,
        pad_token=END, extra_special_tokens=[START, STOP],
    )  # fmt: skip
    tokenizer.chat_template = template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, initializer_range=0.4, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return load_model(save_model(tmp_path / "m", *from_checkpoint(tmp_path / "base")))


@torch.no_grad()
def likelihoods(loaded, ids):
    """Log p of every token but the first, ``<CALL>`` left out."""
    logits_TV = loaded.model(torch.tensor([ids])).logits[0, :-1].double()
    logits_TV[:, loaded.call_id] = -torch.inf
    return torch.log_softmax(logits_TV, -1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_every_way_of_reading_begins_as_training_did(loaded, tmp_path):
    tokenizer, model = loaded.tokenizer, loaded.model
    trained = encode(Document("d", TEXT, {}, ()), tokenizer).input_ids
    begin, *rest, _ = trained
    template = tokenizer.chat_template
    assert tokenizer.convert_ids_to_tokens(begin) == (
        END if template or tokenizer.bos_token == END else START
    )

    engine = Engine(loaded, None, "never", max_new_tokens=1)
    assert engine.sequence(0, TEXT, None, 1).ids == [begin, *rest]
    assert engine.sequence(0, "", None, 1).ids == [begin]
    assert engine.generate([""])[0].spans[0].tokens == 1

    wanted = likelihoods(loaded, [begin, *rest])
    _, steps = read_along(engine, TEXT)
    assert [step.text for step in steps] == list(TEXT)  # the first one, too
    found = torch.tensor([step.p_text for step in steps]).log().double()
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)

    calls = torch.softmax(
        model(torch.tensor([[begin, *rest]])).logits[0, -1].detach().double(), -1
    )[-1]
    sure = float(wanted[len("Mara") :].sum() + torch.log1p(-calls))  # " Vell", and no call after it
    reference = ReferenceLikelihoods(
        model, tokenizer, {"k": (ReferenceText("Mara", "Mara"),)}, loaded.call_id
    )
    assert reference.after([("Mara", "Vell")]) == pytest.approx([sure], abs=1e-3)
    assert reference.after([("Mara", "Vell")] * 9) == pytest.approx([sure] * 9, abs=1e-3)

    if begin == tokenizer.pad_token_id:  # its row learns, as padding is also a beginning
        assert model.get_input_embeddings().padding_idx is None

    partner = LanguageModel(model, tokenizer)
    read = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: read.extend(given["input_ids"].tolist()), with_kwargs=True
    )
    asyncio.run(partner.ask([Request(TEXT)]))
    hook.remove()
    assert read[0] == [begin, *rest]

    packed = PackedData.write(
        [encode(Document("d", TEXT, {}, ()), tokenizer)], tokenizer, 16, tmp_path / "packed"
    )
    assert packed.batch([0])["input_ids"][0, 0] == begin
    assert packed.tokenizer(TEXT).input_ids == [begin, *rest]


def test_echoed_scores_are_those_behind_the_begin_token(loaded):
    engine = Engine(loaded, None, "never", max_new_tokens=1)
    heard = []
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        sequence = engine.sequence(0, TEXT, None, 1)
        sequence.on_text, sequence.scorer = (
            heard.append,
            Scorer(sequence.ids, prompt=sequence.spans[0]),
        )
        running.add([sequence])
        for _ in range(4):
            running.step()
    found = torch.tensor([score.logprob for score in heard[0].scores]).double()
    assert b"".join(score.text for score in heard[0].scores) == TEXT.encode()
    begin, *rest, _ = encode(Document("d", TEXT, {}, ()), loaded.tokenizer).input_ids
    wanted = likelihoods(loaded, [begin, *rest])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
