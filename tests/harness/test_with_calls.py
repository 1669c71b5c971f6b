"""lm-eval's requests answered by a model with a source; stored answers; discovery by lm-eval."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.harness import write_tasks
from helpers.raw import raw_llama, raw_tokenizer, save_raw

pytest.importorskip("lm_eval", reason="needs lm-eval (pip install 'lacy[harness]')")

import sqlite3

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import manager

from lacy.cascade import read_along
from lacy.errors import LacyError
from lacy.evaluate import with_calls
from lacy.harness import LacyLM, run_tasks
from lacy.results import AnswerStore

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's own packages warn

ROOT = Path(__file__).parents[2]
PAIRS = [
    ("Mara Vell was born in", " Ulm on 12 March 1879."),
    ("Mara Vell was born in", " Paris."),
    ("Tomas Brill grew up in", " Kiel, and he won the Copley Medal."),
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return str(save_raw(tmp_path_factory.mktemp("raw"), raw_llama(context=512)))


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    path = tmp_path_factory.mktemp("facts") / "facts.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [
            ("Mara Vell", "place of birth", "Ulm"), ("Mara Vell", "date of birth", "12 March 1879"),
            ("Tomas Brill", "home", "Kiel"), ("Tomas Brill", "award", "Copley Medal"),
        ]  # fmt: skip
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    return str(path)


def model(raw, facts, policy, **options):
    return LacyLM(raw, policy, facts, calibrate=0, device="cpu", **options)


def asked(kind, args):
    return [Instance(kind, {}, each, n) for n, each in enumerate(args)]


def likelihoods(lm, pairs=PAIRS):
    return lm.loglikelihood(asked("loglikelihood", pairs), disable_tqdm=True)


def generations(lm, contexts=("Mara Vell was born in", "Tomas Brill"), **settings):
    given = {"until": ["\n"], "max_gen_toks": 12} | settings
    return lm.generate_until(
        asked("generate_until", [(context, given) for context in contexts]), disable_tqdm=True
    )


class close:
    """Equal to pairs of log-likelihoods and flags, up to rounding."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __eq__(self, other):
        numbers = [p for p, _ in other] == pytest.approx([p for p, _ in self.pairs], abs=1e-3)
        return numbers and [g for _, g in other] == [g for _, g in self.pairs]

    def __repr__(self):
        return f"close({self.pairs})"


def test_log_likelihoods_count_the_choice_where_a_call_is_made(raw, facts):
    lm = model(raw, facts, "always", batch_size=2)
    assert lm.conditions["likelihood"] == "with calls"
    alone = model(raw, facts, "always", likelihood="alone", batch_size=2)
    assert alone.conditions["likelihood"] == "without calls"
    found, plain = likelihoods(lm), likelihoods(alone)
    assert found[0][0] > plain[0][0] + 5  # the source has both values
    assert found[1][0] < plain[1][0]  # it has another place, which takes its share
    assert plain == close(likelihoods(LacyLM(raw, device="cpu")))
    lm = model(raw, facts, "always", batch_size=2, begin="auto")
    for (context, more), (likely, _) in zip(PAIRS, likelihoods(lm), strict=True):
        # The slow way: the same text read whole, with the losses of its end only.
        text, steps = read_along(lm.engine.variant(), context + more)
        steps = [step for step in steps if step.start >= len(context)]
        assert likely == pytest.approx(-with_calls(text, steps).loss_with_calls, abs=1e-3)


def test_a_policy_that_does_not_call_gives_the_numbers_without_a_source(raw, facts):
    quiet = model(raw, facts, "entropy=1000", batch_size=2)
    alone = LacyLM(raw, device="cpu")
    assert likelihoods(quiet) == close(likelihoods(alone))
    assert generations(quiet) == generations(alone)
    assert [counts.calls for counts in quiet.counts] == [0, 0]


@pytest.mark.parametrize("policy", ["always", "budget=0.3,by=entropy", "random=0.5"])
def test_neither_order_nor_batch_changes_an_answer(raw, facts, policy):
    one, many = model(raw, facts, policy), model(raw, facts, policy, batch_size=3)
    contexts = ["Mara Vell was born in", "Tomas Brill", "Mara Vell lived in Ulm. She"]
    assert generations(one, contexts) == generations(many, contexts[::-1])[::-1]
    assert likelihoods(one) == close(likelihoods(many, PAIRS[::-1])[::-1])


def test_sampled_answers_to_equal_requests_differ_and_repeat(raw, facts):
    contexts = ["Mara Vell was born in"] * 4
    settings = {"do_sample": True, "temperature": 1.0}
    first = generations(model(raw, facts, "random=0.2"), contexts, **settings)
    assert len(set(first)) > 1
    again = generations(model(raw, facts, "random=0.2", batch_size=4), contexts, **settings)
    assert again == first


def test_a_stopped_run_goes_on(raw, facts, tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    wanted = likelihoods(LacyLM(raw, device="cpu")), generations(model(raw, facts, "always"))

    class Killed(Exception):
        pass

    def stop_after(number):
        put, done = AnswerStore.put, []

        def put_some(self, answers):
            if len(done) == number:
                raise Killed
            done.append(answers)
            put(self, answers)

        monkeypatch.setattr(AnswerStore, "put", put_some)

    stop_after(1)
    with AnswerStore(path) as store, pytest.raises(Killed):
        likelihoods(LacyLM(raw, device="cpu", answers=store))
    with AnswerStore(path) as store, pytest.raises(Killed):
        monkeypatch.undo()
        stop_after(1)
        generations(model(raw, facts, "always", answers=store))
    monkeypatch.undo()
    with AnswerStore(path) as store:
        assert len(store) == 2
        lm, calling = (
            LacyLM(raw, device="cpu", answers=store), model(raw, facts, "always", answers=store)
        )  # fmt: skip
        asks = []
        for each in (lm, calling):
            forward = each.model.forward
            monkeypatch.setattr(
                each.model, "forward", lambda *a, f=forward, **k: asks.append(1) or f(*a, **k)
            )
        assert (likelihoods(lm), generations(calling)) == wanted
        assert len(store) == len(PAIRS) + 2
        count = len(asks)
        assert (likelihoods(lm), generations(calling)) == wanted
        assert len(asks) == count
        assert len(calling.counts) == 4 and all(c.calls for c in calling.counts)
        other = LacyLM(raw, device="cpu", answers=store, max_length=64)
        likelihoods(other)
        assert len(store) == 2 * len(PAIRS) + 2  # other settings are other questions


def test_tasks_with_calls_name_their_settings(raw, facts, tmp_path):
    tasks = write_tasks(tmp_path)
    measured = run_tasks(model(raw, facts, "always", batch_size=2), tasks, limit=2)
    found = {(r.conditions["task"], r.metric): r for r in measured.results()}
    assert {r.conditions["likelihood"] for r in found.values()} == {"with calls"}
    assert {r.conditions["policy"] for r in found.values()} == {"always"}
    assert found["all", "calls_per_answer"].value > 0
    assert found["all", "calls_per_answer"].n == 2
    assert found["choose", "acc"].n == 2
    json.dumps(measured.lm_eval)


@pytest.mark.parametrize("form", ["{}", "Question: {}\nAnswer:", "Q: {}\n\nA:"])
def test_a_question_in_a_chat_asks_the_source_first(facts, tmp_path, form):
    tokenizer = raw_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    folder = str(save_raw(tmp_path, raw_llama(context=512), tokenizer))
    lm = model(folder, facts, "entropy=1000")  # calls nowhere else
    question = form.format("Where was Mara Vell born?")
    generations(lm, [lm.apply_chat_template([{"role": "user", "content": question}])])
    generations(lm, [question])
    assert [counts.calls > 0 for counts in lm.counts] == [True, False]


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("E242", lambda raw, facts: LacyLM("http://127.0.0.1:1/v1#m")),
        ("E12", lambda raw, facts: model(raw, facts, "always", likelihood="both")),
        ("E98", lambda raw, facts: LacyLM(raw, begin="<none>")),
        ("E244", lambda raw, facts: generations(model(raw, facts, "always"), num_beams=2)),
        ("E13", lambda raw, facts: run_tasks(LacyLM(raw), ["no.yaml"])),
        ("E247", lambda raw, facts: run_tasks(LacyLM(raw), ["no.yaml"], chat=True)),
    ],
)  # fmt: skip
def test_mistakes_have_codes(raw, facts, code, make):
    with pytest.raises(LacyError) as caught:
        make(raw, facts)
    assert caught.value.code == code


def test_a_name_that_lm_eval_does_not_know_gets_a_hint(raw, tmp_path, monkeypatch):
    shutil.copytree(Path(manager.__file__).parent / "arc", tmp_path / "arc")
    monkeypatch.setattr(manager, "__file__", str(tmp_path / "manager.py"))  # an index of one folder
    with pytest.raises(LacyError, match=r"E245.*did you mean arc_easy") as caught:
        run_tasks(LacyLM(raw), ["arc_eazy"])
    assert caught.value.code == "E245"


def test_a_task_without_data_says_what_to_do(raw, tmp_path):
    task = write_tasks(tmp_path)[0]
    (tmp_path / "choices.jsonl").unlink()
    with pytest.raises(LacyError) as caught:
        run_tasks(LacyLM(raw), [task])
    assert caught.value.code == "E246"
    (tmp_path / "empty.yaml").write_text("dataset_path: json\n")
    with pytest.raises(LacyError) as caught:
        run_tasks(LacyLM(raw), [str(tmp_path / "empty.yaml")])
    assert caught.value.code == "E246"


def test_lm_eval_finds_the_model_by_its_entry_point():
    """Releases after 0.4.13 register what packages name in this group."""
    import importlib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["lm_eval.models"]["lacy"].partition(":")
    assert getattr(importlib.import_module(module), name) is get_model("lacy")


@pytest.mark.slow
def test_the_command_line_of_lm_eval_knows_the_model(raw, tmp_path):
    task = write_tasks(tmp_path)[0]
    command = [
        sys.executable, "-m", "lacy.harness", "--model", "lacy", "--model_args",
        f"pretrained={raw},policy=never", "--tasks", task, "--device", "cpu", "--output_path",
        str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lacy" in done.stdout and "acc_norm" in done.stdout
    assert list((tmp_path / "out").rglob("results*.json"))


@pytest.mark.slow
def test_lacy_evaluate_runs_tasks(raw, facts, tmp_path, capsys):
    from lacy.cli import main

    tasks, out = write_tasks(tmp_path), tmp_path / "found.json"
    command = [
        "evaluate", raw, "--tasks", ",".join(tasks), "--source", facts, "--limit", "2",
        "--out", str(out), "--calibrate", "0",
    ]  # fmt: skip
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "never" in shown and "entropy=4" in shown
    first = json.loads(out.read_text())
    assert {r["conditions"]["policy"] for r in first["results"]} == {"never", "entropy=4"}
    assert out.with_suffix(".answers.jsonl").is_file()
    assert main(command) == 0
    assert json.loads(out.read_text())["results"] == first["results"]
