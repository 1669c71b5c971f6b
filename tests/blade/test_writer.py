"""The writer: batches equal single texts, <CALL> is never written, soft prompts come first."""

import pytest
import torch

from lacy.blade import KnowledgeWriter, Projection, SoftPrompt, writer_prompt
from lacy.errors import LacyError
from lacy.model import end_ids
from lacy.safety import prompt_ids

QUESTIONS = ["What?", "What is the capital of France?", "Why is it so?"]
POINT = [0.3, -0.9, 0.5, 0.1, -0.2, 0.8, -0.7, 0.4, 0.9, -0.5]


@torch.inference_mode()
def slowly(loaded, question, soft_prompt, count):
    """Return greedy text token by token, without a cache; the slow reference."""
    model, ends = loaded.model, end_ids(loaded.tokenizer, loaded.model)
    ids = prompt_ids(loaded.tokenizer, writer_prompt(question))
    inputs_TD = model.get_input_embeddings()(torch.tensor(ids))
    if soft_prompt is not None:
        inputs_TD = torch.cat([soft_prompt.vectors_TD, inputs_TD])
    own = []
    while len(own) < count:
        logits_V = model(inputs_embeds=inputs_TD[None]).logits[0, -1]
        logits_V[loaded.call_id] = -torch.inf
        token = int(logits_V.argmax())
        if token in ends:
            break
        own.append(token)
        inputs_TD = torch.cat([inputs_TD, model.get_input_embeddings()(torch.tensor([token]))])
    text = loaded.tokenizer.decode(own, skip_special_tokens=True).strip()
    return text.splitlines()[0].strip() if text else ""


@pytest.mark.parametrize("soft", [False, True])
def test_a_batch_is_written_as_one_by_one(loaded, soft):
    soft_prompt = Projection(loaded, seed=3)(POINT) if soft else None
    writer = KnowledgeWriter(loaded, soft_prompt, max_tokens=6, batch=2)
    found = writer.write(QUESTIONS)
    assert found == [slowly(loaded, one, soft_prompt, 6) for one in QUESTIONS]
    assert writer.tokens > 0
    assert writer.write([]) == []


def test_a_soft_prompt_changes_the_text_and_call_is_never_written(loaded):
    writer = KnowledgeWriter(loaded, max_tokens=6)
    before = writer.write(QUESTIONS)
    bias = loaded.model.get_output_embeddings().weight[-1].clone()
    with torch.no_grad():  # <CALL> would be the likeliest token everywhere
        loaded.model.get_output_embeddings().weight[-1] *= 1e4
    try:
        assert writer.write(QUESTIONS) == before
    finally:
        with torch.no_grad():
            loaded.model.get_output_embeddings().weight[-1] = bias
    writer.use(Projection(loaded)(POINT))
    assert writer.write(QUESTIONS) != before
    writer.use(None)
    assert writer.write(QUESTIONS) == before


def test_a_question_that_is_too_long(loaded):
    with pytest.raises(LacyError, match="E60"):
        KnowledgeWriter(loaded).write(["What?", "x" * 600])


def test_vectors_are_as_long_as_embeddings_on_average(loaded):
    table_VD = loaded.model.get_input_embeddings().weight.detach()[:-1]
    wanted = float(table_VD.norm(dim=1).mean())
    points = torch.rand((200, 10), generator=torch.Generator().manual_seed(0)) * 2 - 1
    project = Projection(loaded, seed=5)
    norms = torch.cat([project(p.tolist()).vectors_TD.norm(dim=1) for p in points])
    assert norms.square().mean().sqrt() == pytest.approx(wanted, rel=0.1)
    assert torch.equal(project(POINT).vectors_TD, Projection(loaded, seed=5)(POINT).vectors_TD)
    doubled = project([2 * value for value in POINT]).vectors_TD
    assert torch.allclose(doubled, 2 * project(POINT).vectors_TD)


def test_a_soft_prompt_is_saved_and_fits_its_model_only(loaded, tmp_path):
    one = Projection(loaded)(POINT)
    one.save(tmp_path)
    again = SoftPrompt.load(tmp_path)
    assert torch.equal(again.vectors_TD, one.vectors_TD)
    assert (again.point, again.fingerprint) == (tuple(POINT), one.fingerprint)
    KnowledgeWriter(loaded, again)
    for other in (SoftPrompt(one.vectors_TD, "other"), SoftPrompt(torch.zeros(5, 7), "x")):
        with pytest.raises(LacyError, match="E395"):
            KnowledgeWriter(loaded, other)
    (tmp_path / "soft_prompt.safetensors").write_bytes(b"damaged")
    with pytest.raises(LacyError, match="E394"):
        SoftPrompt.load(tmp_path)
