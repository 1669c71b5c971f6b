"""Loss, perplexity and bits per byte against slow references."""

import json
import math
import sqlite3

import numpy as np
import pytest
import torch

from helpers import models
from helpers.raw import raw_llama, raw_tokenizer, save_raw
from lacy.cascade import Engine, read_along, teacher_forced_signals
from lacy.cli import main
from lacy.errors import LacyError
from lacy.evaluate import (
    language_scores,
    measure_language,
    measure_with_calls,
    read_losses,
    with_calls,
)
from lacy.evaluate.language import token_sizes, windows
from lacy.model import load_model
from lacy.results import AnswerStore
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Document, Mark, Reply

TEXTS = [
    Document("a", "Mara Vell was born in Ulm.", marks=(Mark(22, 25, "ENTITY"),)),
    Document("b", "Tomas Brill lived in São Paulo, 東京 and Αθήνα. " * 4, marks=()),
    Document("c", ""),
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return load_model(save_raw(tmp_path_factory.mktemp("raw"), raw_llama(context=512)))


@pytest.mark.parametrize("targets", [0, 1, 2, 7, 8, 9, 23, 64])
@pytest.mark.parametrize(("window", "stride"), [(8, 4), (8, 8), (8, 1), (2, 1), (100, 50)])
def test_windows_score_each_token_once(targets, window, stride):
    found = list(windows(targets, window, stride))
    assert [token for _, done, end in found for token in range(done + 1, end + 1)] == list(
        range(1, targets + 1)
    )
    for begin, done, end in found:
        assert end - begin <= window
        assert begin == 0 or done - begin >= window - stride


def test_losses_in_one_window_are_those_of_the_signals(raw):
    texts = TEXTS[:2]
    for losses, signals in zip(
        read_losses(raw, texts, 512, 256), teacher_forced_signals(raw, texts), strict=True
    ):
        assert losses.loss == pytest.approx(-signals.logprob[:-1], abs=1e-4)  # without the end
        assert losses.fact.tolist() == ((signals.marks[:-1] & 1) > 0).tolist()


def test_losses_in_windows_are_those_of_each_window_alone(raw):
    text = TEXTS[1]
    [losses] = read_losses(raw, [text], 16, 4)
    ids = [0, *raw_tokenizer()(text.text, add_special_tokens=False).input_ids]
    wanted = []
    for place in range(1, len(ids)):
        if place <= 16:
            begin = 0
        else:
            end = 16 + 4 * math.ceil((place - 16) / 4)
            begin = min(end, len(ids) - 1) - 16
        with torch.no_grad():
            logits = raw.model(torch.tensor([ids[begin:place]])).logits[0, -1, :-1]
        wanted.append(-torch.log_softmax(logits, -1)[ids[place]].item())
    assert losses.loss == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", list(models.ALL))
def test_the_bytes_of_tokens_add_up_to_those_of_the_text(name):
    tokenizer = models.ALL[name]
    for text in [*models.TEXTS[:3], " two  spaces ", "a\n\n東京\n", "", "e\u0301 é"]:
        sizes = token_sizes(text, tokenizer)
        assert sizes.sum() == (len(text.encode()) if len(sizes) else 0)
        assert (sizes >= 0).all()


def test_scores_are_sums_over_texts(raw):
    texts = list(read_losses(raw, TEXTS[:2], 512, 256))
    scores = language_scores(texts)
    nats = np.concatenate([text.loss for text in texts])
    facts = np.concatenate([text.fact for text in texts])
    assert scores["text_loss"]["all"].value == pytest.approx(nats.mean())
    assert scores["text_loss"]["facts"].value == pytest.approx(nats[facts].mean())
    assert scores["perplexity"]["others"].value == pytest.approx(math.exp(nats[~facts].mean()))
    size = sum(len(text.text.encode()) for text in TEXTS)
    assert scores["bits_per_byte"]["all"].value == pytest.approx(nats.sum() / math.log(2) / size)
    assert sum(facts) == 3  # "Ulm", a byte each


def test_bits_per_byte_equal_those_of_lm_eval(raw, tmp_path):
    pytest.importorskip("lm_eval", reason="needs lm-eval (pip install 'lacy[harness]')")
    from lm_eval.api.instance import Instance

    from lacy.harness import LacyLM

    lm = LacyLM(str(raw.path), device="cpu")  # its prefix is the same begin token
    requests = [Instance("loglikelihood_rolling", {}, (text.text,), 0) for text in TEXTS[:2]]
    found = lm.loglikelihood_rolling(requests, disable_tqdm=True)
    wanted = [-losses.loss.sum() for losses in read_losses(raw, TEXTS[:2], 512, 256)]
    assert found == pytest.approx(wanted, abs=1e-3)


def test_results_name_tokens_and_count_empty_texts(raw):
    measured = measure_language(raw, TEXTS, window=32, conditions={"model": "m"})
    found = {(r.metric, r.conditions.get("tokens")): r for r in measured.results()}
    assert set(measured.scores["perplexity"]) == {"all", "facts", "others"}
    assert found["texts_skipped", None].value == 1
    assert found["perplexity", "all"].n == 2
    assert found["perplexity", "all"].conditions["stride"] == "16"
    bare = measure_language(raw, [Document("b", "No marks here.")])
    assert set(bare.scores["perplexity"]) == {"all"}
    for wrong in ({"window": 1}, {"stride": 0}):
        with pytest.raises(LacyError) as caught:
            measure_language(raw, TEXTS, **wrong)
        assert caught.value.code == "E12"


def places(steps, given=()):
    """The cost of the places of calls, term by term."""
    return -sum(
        math.log(step.p_call if step.called else 1 - step.p_call)
        for step in steps
        if step.p_call is not None
    )


@pytest.mark.parametrize("policy", ["always", "random=0.5", "never"])
def test_perplexity_counts_the_places_of_calls(policy, tmp_path):
    taught = models.llama(models.ALL["byte_level"], context=256)
    taught.model.config.lacy_taught = True
    source = ScriptedSource(lambda request: Reply())  # never an answer: only the places cost
    engine = Engine(taught, source, policy, read=64)
    text, steps = read_along(engine, TEXTS[0].text)
    found = with_calls(text, steps)
    assert found.loss_with_calls == pytest.approx(found.loss)
    assert found.places == pytest.approx(places(steps))
    if policy == "never":
        # The softmax that contains <CALL>: the usual loss of a model with one more token.
        ids = [0, *taught.tokenizer(TEXTS[0].text, add_special_tokens=False).input_ids]
        ids[0] = taught.tokenizer.bos_token_id
        with torch.no_grad():
            logits = taught.model(torch.tensor([ids[:-1]])).logits[0]
        logp = torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids[1:])[:, None])
        assert found.loss + found.places == pytest.approx(-logp.sum().item(), abs=1e-3)


def test_a_raw_model_pays_nothing_for_places(raw):
    engine = Engine(raw, ScriptedSource(lambda request: Reply((Candidate(" Ulm"),))), "always")
    measured, sizes = measure_with_calls(engine, TEXTS, tokens=20)
    assert [text.places for text in measured.texts] == [0.0, 0.0]
    assert measured.augmented == measured.loss_with_calls
    assert len(sizes) == 2 and max(sizes) <= 20  # bytes are tokens of this model


def test_stored_losses_are_not_computed_again(raw, tmp_path, monkeypatch):
    def engine():
        return Engine(raw, ScriptedSource(lambda request: Reply((Candidate(" Ulm"),))), "always")

    wanted, sizes = measure_with_calls(engine(), TEXTS, tokens=20)
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        found, _ = measure_with_calls(engine(), TEXTS, tokens=20, store=store)
        assert found.texts == wanted.texts
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        monkeypatch.setattr(raw.model, "forward", None)
        found, again = measure_with_calls(engine(), TEXTS, tokens=20, store=store)
        assert (found.texts, again) == (wanted.texts, sizes)


def test_lacy_evaluate_texts(raw, tmp_path, capsys):
    facts, texts, out = (
        tmp_path / name for name in ("facts.sqlite", "texts.jsonl", "found.json")
    )  # fmt: skip
    with sqlite3.connect(facts) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.execute("INSERT INTO fact VALUES ('Mara Vell', 'place of birth', 'Ulm')")
    rows = [
        {"id": d.id, "text": d.text, "marks": [[m.start, m.end, m.reason, None] for m in d.marks]}
        for d in TEXTS[:2]
    ]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["evaluate", str(raw.path), "--texts", str(texts), "--out", str(out)]
    assert main(command) == 0
    assert "fact tokens" in capsys.readouterr().out
    more = ["--source", str(facts), "--calibrate", "0", "--call-tokens", "24", "--policies"]
    assert main([*command, *more, "always"]) == 0
    assert "with calls, always" in capsys.readouterr().out
    found = json.loads(out.read_text())["results"]
    calls = [r for r in found if r["conditions"]["policy"] == "always"]
    assert {r["metric"] for r in calls} >= {"perplexity", "perplexity_augmented"}
    texts.write_text("")
    assert main(command) == 3
    assert "E21" in capsys.readouterr().err
