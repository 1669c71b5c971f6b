"""Without calls, lm-eval's model `lacy` equals lm-eval's own `hf`, number by number."""

import math

import pytest
import torch

from helpers import models
from helpers.harness import write_tasks
from helpers.raw import raw_llama, raw_tokenizer, save_raw

pytest.importorskip("lm_eval", reason="needs lm-eval (pip install 'lacy[harness]')")

from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from lacy.corpus import save_tokenizer
from lacy.harness import LacyLM, run_tasks
from lacy.harness.run import quiet_harness
from lacy.harness.text_model import text_tokenizer
from lacy.model import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's own packages warn

CONTEXT = 64
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A model as other tools save it."""
    tokenizer = raw_tokenizer()
    tokenizer.chat_template = CHAT
    folder = tmp_path_factory.mktemp("raw")
    return save_raw(folder, raw_llama(context=CONTEXT), tokenizer)


@pytest.fixture(scope="module")
def taught(raw, tmp_path_factory):
    """The same model with a `<CALL>` row, as lacy saves it; `<CALL>` would often be likeliest."""
    folder = tmp_path_factory.mktemp("taught")
    loaded = load_model(raw)
    weight = loaded.model.get_output_embeddings().weight
    with torch.no_grad():
        weight[-1] = 5 * weight[0]
    save_model(folder, loaded.model, loaded.tokenizer, {"tune": {}})
    return folder


@pytest.fixture
def tasks(tmp_path):
    return write_tasks(tmp_path / "tasks")


def by_hf(place, tasks, chat=False, **options):
    return evaluated(hf_model(place, **options), tasks, chat)


def hf_model(place, **options):
    with quiet_harness():
        return HFLM(pretrained=str(place), device="cpu", **options)


def evaluated(lm, tasks, chat):
    from lacy.harness.run import _own_task

    with quiet_harness():
        return evaluator.simple_evaluate(
            lm, tasks=[_own_task(task) for task in tasks], log_samples=True,
            task_manager=TaskManager(include_defaults=False), apply_chat_template=chat,
        )  # fmt: skip


def answers(samples):
    return {
        task: [[tuple(r) if isinstance(r, list) else r for r in one["filtered_resps"]] for one in s]
        for task, s in samples.items()
    }


WAYS = [
    {"batch_size": 1},
    {"batch_size": 3},
    {"batch_size": 2, "add_bos_token": True},
    {"batch_size": 1, "max_length": 24},
    {"batch_size": 1, "dtype": "bfloat16"},
    {"batch_size": 1, "prefix_token_id": 5},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_raw_model_gives_the_same_numbers(raw, tasks, way):
    wanted = by_hf(raw, tasks, **way)
    measured = run_tasks(LacyLM(str(raw), **way), tasks)
    assert answers(measured.samples) == answers(wanted["samples"])
    for task, values in wanted["results"].items():
        ours = measured.lm_eval["results"][task]
        assert {k: v for k, v in ours.items() if k != "alias"} == {
            k: v for k, v in values.items() if k != "alias"
        }


def test_the_chat_template_is_applied_as_by_hf(raw, tasks):
    chosen = [task for task in tasks if "roll" not in task]
    wanted = by_hf(raw, chosen, chat=True)
    measured = run_tasks(LacyLM(str(raw)), chosen, chat=True)
    assert answers(measured.samples) == answers(wanted["samples"])
    plain = run_tasks(LacyLM(str(raw)), chosen)
    assert answers(plain.samples) != answers(wanted["samples"])


def test_call_is_neither_text_nor_output(raw, taught, tasks):
    """With `<CALL>` as a row, everything is as before the row was added."""
    wanted = run_tasks(LacyLM(str(raw), begin="<|endoftext|>"), tasks)
    lm = LacyLM(str(taught))
    assert len(lm.tokenizer) == 257 == lm.model.config.vocab_size
    measured = run_tasks(lm, tasks)
    assert answers(measured.samples) == answers(wanted.samples)
    by_others = by_hf(taught, tasks)
    assert answers(by_others["samples"]) != answers(wanted.samples)


@pytest.mark.parametrize("name", list(models.ALL))
def test_tokenizers_lose_call_and_nothing_else(name, tmp_path):
    save_tokenizer(models.ALL[name], tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    full = AutoTokenizer.from_pretrained(tmp_path)
    with text_tokenizer(tmp_path) as folder:
        bare = AutoTokenizer.from_pretrained(folder)
    assert len(bare) == len(full) - 1 and "<CALL>" not in bare.get_vocab()
    for text in models.TEXTS[:3]:
        assert bare(text).input_ids == full(text).input_ids
    call = len(full) - 1
    assert call in full("a <CALL> b").input_ids and call not in bare("a <CALL> b").input_ids
    assert max(bare("a <CALL> b").input_ids) < len(bare)


def test_the_order_of_requests_and_the_batch_change_nothing(raw):
    pairs = [("Mara Vell was", " born in Ulm"), ("", "Paris"), ("He married Ada", " Lovelace")] * 3
    asked = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
    one = LacyLM(str(raw), batch_size=1).loglikelihood(asked, disable_tqdm=True)
    four = LacyLM(str(raw), batch_size=4).loglikelihood(asked[::-1], disable_tqdm=True)[::-1]
    assert [g for _, g in one] == [g for _, g in four]
    assert [p for p, _ in one] == pytest.approx([p for p, _ in four], abs=1e-4)


def test_results_have_intervals_and_keep_the_numbers_of_lm_eval(raw, tasks):
    measured = run_tasks(LacyLM(str(raw)), tasks)
    found = {(r.conditions["task"], r.metric): r for r in measured.results()}
    for (task, metric), result in found.items():
        assert result.value == measured.lm_eval["results"][task][f"{metric},none"]
        assert result.conditions["policy"] == "never"
    accuracy = found["choose", "acc"]
    z, share, n = 1.959963984540054, accuracy.value, 4
    middle = (share + z * z / 2 / n) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / 4 / n / n) / (1 + z * z / n)
    assert (accuracy.low, accuracy.high) == pytest.approx((middle - half, middle + half))
    assert accuracy.n == 4
    for name in ("word_perplexity", "bits_per_byte"):
        result = found["roll", name]
        assert result.low < result.value < result.high
        assert result.n == 3


@pytest.fixture(scope="module")
def both_smollm2(smollm2):
    """The model as lm-eval and as lacy opens it."""
    return hf_model(smollm2, batch_size=2), LacyLM(str(smollm2), batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True])
def test_smollm2_gives_the_same_numbers(both_smollm2, tasks, chat):
    theirs, ours = both_smollm2
    chosen = [task for task in tasks if "roll" not in task or not chat]
    wanted = evaluated(theirs, chosen, chat)
    measured = run_tasks(ours, chosen, chat=chat)
    assert answers(measured.samples) == answers(wanted["samples"])
