"""Saturation of tiny models: heads of lower rank, groups of tokens, caches, bad input."""

import json
import math
from types import SimpleNamespace

import families
import numpy as np
import pytest
import torch

from helpers.models import ALL, llama
from lacy.errors import LacyError
from lacy.evaluate import measure_saturation
from lacy.evaluate.head_ranks import split_texts
from lacy.evaluate.low_rank_head import (
    LowRankHead,
    Targets,
    best_on_states,
    cut_head,
    losses,
    train_head,
)
from lacy.evaluate.saturation import call_margins
from lacy.model import TextHead, read_head, set_gate, set_taught
from lacy.results import METRICS, AnswerStore, as_data, to_data
from lacy.testing import byte_tokenizer
from lacy.types import Document, Mark

PEOPLE = ["Mara Vell", "Tomas Brill", "Ada Lovelace", "Kai Oda", "Ines Roth", "Leo Marr", "Uma Fay"]


def documents(marked=True):
    texts = []
    for number, name in enumerate(PEOPLE):
        text = f"{name} was born in {1870 + number} near the old harbour."
        begin = text.index("18")
        marks = (Mark(0, len(name), "ENTITY"), Mark(begin, begin + 4, "DATE")) if marked else ()
        texts.append(Document(str(number), text, marks=marks))
    return texts


def loaded(seed=0, gate=None):
    found = llama(ALL["byte_level"], seed=seed)
    if gate:
        set_gate(found.model, gate)
        with torch.no_grad():  # a row that calls at about half of the tokens
            found.model.get_output_embeddings().weight[-1] *= 8.0
    else:
        set_taught(found.model, taught=False)
    return found


def measure(found, **settings):
    settings = {"tokens": 40, "ranks": [2, 8]} | settings
    if (cache := settings.pop("cache", None)) is None:
        return measure_saturation(found, documents(), **settings)
    with AnswerStore(cache / "answers.jsonl") as store:
        return measure_saturation(
            found, documents(), store=store, states_folder=cache / "states", **settings
        )


# ------------------------------------------------------------------------- heads of lower rank


@pytest.fixture
def head():
    return TextHead(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def targets(head):
    """Tokens that a model of rank 2 predicts well."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(600, 8, generator=generator)
    logits = 4 * hidden[:, :2] @ head.weight_VD[:, :2].T
    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return [Targets(hidden[rows], drawn[rows]) for rows in torch.arange(600).split(200)]


def test_a_cut_head_is_the_best_approximation(head):
    left, values, right = torch.linalg.svd(head.weight_VD, full_matrices=False)
    for rank in (1, 3, 8):
        low = cut_head(head, rank)
        assert low.left_VR.shape == (60, rank)
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        torch.testing.assert_close(low.left_VR @ low.right_RD, best, atol=1e-4, rtol=1e-4)


def test_the_start_of_training_has_the_least_error_on_the_states(head, targets):
    hidden = targets[0].hidden_ND * torch.linspace(0.1, 5, 8)

    def error(low):
        return float((low.logits(hidden) - head.logits(hidden)).square().mean())

    left, values, right = torch.linalg.svd(head.logits(hidden), full_matrices=False)
    least = (left[:, :3] * values[:3]) @ right[:3]
    assert error(best_on_states(head, hidden, 3)) == pytest.approx(
        float((least - head.logits(hidden)).square().mean()), rel=1e-2
    )
    assert error(best_on_states(head, hidden, 3)) < error(cut_head(head, 3))
    assert error(best_on_states(head, hidden, 8)) < 1e-5


def test_bias_and_cap_stay(head):
    full = TextHead(head.weight_VD, torch.linspace(-1, 1, 60), scale=0.5, cap=3.0)
    hidden = torch.randn(4, 8)
    torch.testing.assert_close(cut_head(full, 8).logits(hidden), full.logits(hidden))


def test_training_finds_a_head_of_rank_two(head, targets):
    fit, stop, test = targets
    low, passes = train_head(head, 2, fit, stop)
    assert passes >= 1
    assert low.left_VR.shape == (60, 2)
    assert not low.left_VR.requires_grad
    own = float(losses(head, test).mean())
    start = float(losses(best_on_states(head, fit.hidden_ND, 2), test).mean())
    assert float(losses(low, test).mean()) < min(own, start) - 0.1


def test_training_that_does_not_help_is_undone(head, targets):
    """The texts of the fit say the opposite of the others, which the head predicts well."""
    likeliest = [head.logits(one.hidden_ND).argmax(1) for one in targets]
    unlikeliest = head.logits(targets[0].hidden_ND).argmin(1)
    fit = Targets(targets[0].hidden_ND, unlikeliest)
    stop = Targets(targets[1].hidden_ND, likeliest[1])
    low, passes = train_head(head, 8, fit, stop)
    assert passes == 0
    start = best_on_states(head, fit.hidden_ND, 8)
    torch.testing.assert_close(low.logits(stop.hidden_ND), start.logits(stop.hidden_ND))


def test_losses_do_not_depend_on_chunks(head, targets, monkeypatch):
    whole = losses(head, targets[0])
    monkeypatch.setattr("lacy.evaluate.low_rank_head.MAX_LOGITS", 300)
    torch.testing.assert_close(losses(head, targets[0]), whole)
    low = LowRankHead(head, head.weight_VD, torch.eye(8))
    torch.testing.assert_close(losses(low, targets[0]), whole)


@pytest.mark.parametrize("texts", [2, 3, 7, 100])
def test_texts_are_split_whole(texts):
    owner = np.repeat(np.arange(texts), 3)
    fit, stop, test = split_texts(owner, texts, seed=0)
    for mask in (fit, stop, test):
        assert mask.any()
        assert (np.bincount(owner[mask], minlength=texts) % 3 == 0).all()
    assert not (test & (fit | stop)).any()
    assert (fit | stop | test).all()
    if texts > 2:
        assert not (fit & stop).any()


# ---------------------------------------------------------------------------- the measurement


def test_all_results_are_described_and_plain_data():
    found = measure(loaded(gate="softmax"))
    results = found.results()
    assert {result.metric for result in results} <= set(METRICS)
    for result in results:
        assert result.unit == METRICS[result.metric].unit
    keys = [(r.metric, *sorted(r.conditions.items())) for r in results]
    assert len(keys) == len(set(keys))
    assert json.loads(json.dumps(to_data(found)))["delegated_by"] == "calls"


def test_groups_of_tokens():
    found = measure(loaded())
    tokens = found.tokens
    assert tokens["all"] == tokens["fact"] + tokens["other"]
    assert (tokens["delegated"], tokens["kept"]) == (tokens["fact"], tokens["other"])
    assert found.delegated_by == "marks"
    text = found.gradient["text"]
    assert text["kept"] == text["other"]
    assert "call" not in found.gradient
    for share in text.values():
        assert share.kept.value**2 + share.lost.value**2 == pytest.approx(1.0)
        assert share.kept.low <= share.kept.value <= share.kept.high
    assert list(found.anisotropy) == ["0", "1", "last"]
    assert set(found.anisotropy["last"]) == {"all", "fact", "other"}


def test_the_gradients_of_all_tokens_are_those_of_the_parts():
    """Norms add up as squares: kept^2 is a mean of the groups', weighted by their gradients."""
    share = measure(loaded()).gradient["text"]
    values = [share[name].kept.value for name in ("fact", "other")]
    assert min(values) <= share["all"].kept.value <= max(values)


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_a_model_that_calls_has_the_loss_with_calls(gate):
    model = loaded(gate=gate)
    found = measure(model)
    assert found.delegated_by == "calls"
    assert 0 < found.tokens["delegated"] < found.tokens["all"]
    assert set(found.gradient) == {"text", "call"}
    assert found.gradient["call"]["delegated"].loss.value < math.log(2)


def test_a_model_trained_without_delegation_has_no_calls():
    """Its row exists, but was never trained."""
    model = loaded(gate="softmax")
    model.meta = {"training": {"settings": {"method": "none"}}}
    assert measure(model, train_heads=False, call_rate=0.2).delegated_by == "marks"
    model.meta = {"training": {"settings": {"method": "lacy"}}}
    assert measure(model, train_heads=False, call_rate=0.2).delegated_by == "calls"


def test_a_call_rate_sets_the_number_of_calls():
    found = measure(loaded(gate="softmax"), call_rate=0.25)
    assert found.tokens["delegated"] == pytest.approx(0.25 * found.tokens["all"], abs=1)


def test_margins_are_those_of_the_policies():
    from lacy.cascade import teacher_forced_signals
    from lacy.evaluate.head_states import read_head_states

    for gate in ("softmax", "sigmoid"):
        model = loaded(gate=gate)
        states = read_head_states(model, documents(), tokens=100)
        expected = [s.margin for s in teacher_forced_signals(model, documents())]
        found = call_margins(read_head(model.model), states.hidden_ND, gate)
        np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


def test_a_full_head_is_the_models_own_and_lower_ranks_lose():
    found = measure(loaded())
    heads = {(one.head, one.rank): one for one in found.ranks.heads}
    assert {rank for _, rank in heads} == {2, 8, 32}
    full = heads["cut", 32]
    assert full.rise["all"].value == 0
    assert heads["cut", 2].rise["all"].value == pytest.approx(
        heads["cut", 2].loss["all"].value - full.loss["all"].value
    )
    assert set(found.ranks.relief) == {2, 8, 32}
    assert {kind for kind, _ in heads} == {"cut", "fitted", "trained", "trained on kept"}
    assert heads["fitted", 32].loss["all"].value == pytest.approx(full.loss["all"].value, abs=0.02)


def test_cutting_alone_trains_nothing():
    found = measure(loaded(), train_heads=False)
    assert {one.head for one in found.ranks.heads} == {"cut", "fitted"}
    assert found.ranks.relief == {}
    assert found.ranks.fit_tokens < found.tokens["all"]


def test_unmarked_texts_have_no_groups():
    found = measure_saturation(loaded(), documents(marked=False), tokens=40, ranks=[4])
    assert set(found.tokens) == {"all", "other"}
    assert found.delegated_by == ""
    assert found.ranks.relief == {}


def test_the_same_seed_gives_the_same_numbers_and_half_precision_similar_ones():
    first = measure(loaded())
    assert as_data(measure(loaded())) == as_data(first)
    half = loaded()
    half.model.to(torch.bfloat16)
    other = measure(half, train_heads=False)
    assert other.spectrum.effective_rank == pytest.approx(first.spectrum.effective_rank, rel=1e-2)
    expected = first.gradient["text"]["all"].kept.value
    assert other.gradient["text"]["all"].kept.value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("kind", ["gemma2", "phi", "gpt2", "opt"])
def test_other_architectures(kind):
    tokenizer = byte_tokenizer()
    model = families.tiny(kind, len(tokenizer)).eval()
    set_taught(model, taught=False)
    found = measure(SimpleNamespace(model=model, tokenizer=tokenizer, meta={}), ranks=[2])
    assert found.spectrum.vocabulary == len(tokenizer) - 1
    cut = next(one for one in found.ranks.heads if (one.head, one.rank) == ("cut", 2))
    assert math.isfinite(cut.loss["all"].value)


# ------------------------------------------------------------------------------------- resuming


def refuse(*_args, **_kwargs):
    raise AssertionError("this was measured before")


def test_a_second_run_reads_what_the_first_one_kept(tmp_path, monkeypatch):
    first = measure(loaded(), cache=tmp_path)
    monkeypatch.setattr("lacy.evaluate.head_states._compute", refuse)
    monkeypatch.setattr("lacy.evaluate.head_ranks.train_head", refuse)
    assert as_data(measure(loaded(), cache=tmp_path)) == as_data(first)


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    asked = []

    def notify(sentence):
        asked.append(sentence)
        if sentence == "trained, rank 8":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(loaded(), cache=tmp_path, notify=notify)
    again = []
    found = measure(loaded(), cache=tmp_path, notify=again.append)
    assert "trained, rank 2" in asked
    assert "trained, rank 2" not in again
    assert "trained, rank 8" in again
    assert as_data(found) == as_data(measure(loaded()))


def test_another_model_or_row_is_measured_again(tmp_path):
    first = measure(loaded(gate="softmax"), cache=tmp_path)
    other = loaded(seed=1, gate="softmax")
    assert as_data(measure(other, cache=tmp_path)) == as_data(measure(other))
    row = loaded(gate="softmax")
    with torch.no_grad():
        row.model.get_output_embeddings().weight[-1] *= -1
    assert as_data(measure(row, cache=tmp_path)) == as_data(measure(row)) != as_data(first)


# ------------------------------------------------------------------------------------ bad input


def test_empty_texts_are_counted():
    many = [*documents(), Document("empty", ""), Document("blank", " ")]
    found = measure_saturation(loaded(), many, tokens=40, ranks=[2], train_heads=False)
    assert found.texts + found.left_out == len(many)
    left_out = next(r for r in found.results() if r.metric == "texts_left_out")
    assert left_out.value == found.left_out


def test_too_few_texts_are_refused():
    with pytest.raises(LacyError) as caught:
        measure_saturation(loaded(), documents()[:1])
    assert caught.value.code == "E260"


@pytest.mark.parametrize("rank", [0, 33])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(LacyError) as caught:
        measure(loaded(), ranks=[2, rank])
    assert caught.value.code == "E261"
    assert "32" in str(caught.value)
