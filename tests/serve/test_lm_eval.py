"""lm-eval gives the same results for the server as for the model's folder."""

import copy
import json

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from helpers import models
from helpers.harness import one_description  # noqa: F401 (fixture)
from helpers.serving import serving

pytest.importorskip("lm_eval", reason="needs lm-eval (pip install 'lm-eval==0.4.13')")

from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

from lacy.cascade import Engine
from lacy.sources import ScriptedSource

# lm-eval's own packages warn.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PAIRS = [
    ("Mara Vell was born in", " Ulm on 12 March 1879."),
    ("Tomas Brill, an engineer from Łódź, grew up in", " Paris"),
    ("", "Mara Vell was born in Ulm."),
    ("東京", " and Αθήνα"),
    ("He married Ada", " Lovelace; they lived in São Paulo."),
    ("Mara", " Vell<|endoftext|>Tomas"),
]
TEXTS = [text + more for text, more in PAIRS] + [" ".join(text + more for text, more in PAIRS)]
CONTEXT = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder as `transformers` opens it, with a begin token."""
    place = tmp_path_factory.mktemp("model")
    loaded = models.llama(models.ALL["byte_level"], context=CONTEXT)
    tokenizer = copy.deepcopy(loaded.tokenizer)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A", pair=f"{end} $A $B", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    loaded.model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def url(folder):
    """A server whose policy calls everywhere: scoring must not."""
    loaded = models.llama(models.ALL["byte_level"], context=CONTEXT)
    engine = Engine(loaded, ScriptedSource([" Ulm an der Donau"], name="book"), "always")
    with serving(engine) as running:
        yield running.url


@pytest.fixture(scope="module")
def hf(folder):
    """lm-eval's own model class, with `<CALL>` masked."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    call = tokenizer.convert_tokens_to_ids("<CALL>")

    def mask(module, given, out):
        out.logits[..., call] = float("-inf")

    model.register_forward_hook(mask)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=True)


def served(url, folder, **how):
    return LocalCompletionsAPI(
        base_url=f"{url}/v1/completions", model="slm", tokenizer=str(folder),
        tokenizer_backend="huggingface", max_length=CONTEXT, max_retries=1, **how,
    )  # fmt: skip


WAYS = [
    {"tokenized_requests": True},
    {"tokenized_requests": False},
    {"tokenized_requests": True, "batch_size": 4},
    {"tokenized_requests": False, "batch_size": 4},
    {"tokenized_requests": True, "num_concurrent": 3},
]


def asked(kind, args):
    return [Instance(kind, {}, each, n) for n, each in enumerate(args)]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_log_likelihoods(url, folder, hf, way):
    lm = served(url, folder, add_bos_token=True, **way)
    wanted = hf.loglikelihood(asked("loglikelihood", PAIRS), disable_tqdm=True)
    got = lm.loglikelihood(asked("loglikelihood", PAIRS), disable_tqdm=True)
    for (likely, greedy), (expected, first), pair in zip(got, wanted, PAIRS, strict=True):
        assert likely == pytest.approx(expected, abs=1e-3), pair
        assert greedy == first
    rolling = [(text,) for text in TEXTS]
    wanted = hf.loglikelihood_rolling(asked("loglikelihood_rolling", rolling), disable_tqdm=True)
    got = lm.loglikelihood_rolling(asked("loglikelihood_rolling", rolling), disable_tqdm=True)
    assert got == pytest.approx(wanted, abs=1e-3)


CHOICES = [
    {"question": "Mara Vell was born in", "choices": ["Ulm", "Paris", "Łódź"], "answer": 0},
    {"question": "Tomas Brill won the", "choices": ["Copley Medal", "1921", "é"], "answer": 0},
    {"question": "She studied", "choices": ["physics", "Αθήνα", "“near the sea”"], "answer": 1},
]
TASK = {
    "task": "choose", "dataset_path": "json", "output_type": "multiple_choice",
    "test_split": "train", "doc_to_text": "{{question}}", "doc_to_choice": "choices",
    "doc_to_target": "answer", "target_delimiter": " ", "num_fewshot": 0,
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_multiple_choice(url, folder, hf, way, tmp_path):
    lines = "".join(json.dumps(doc) + "\n" for doc in CHOICES)
    (tmp_path / "docs.jsonl").write_text(lines)
    files = {"train": str(tmp_path / "docs.jsonl")}
    kept = {"data_files": files, "cache_dir": str(tmp_path / "cache")}
    task = TASK | {"dataset_kwargs": kept}
    found = []
    for lm in (hf, served(url, folder, add_bos_token=True, **way)):
        told = evaluator.simple_evaluate(
            lm, tasks=[dict(task)], bootstrap_iters=0, log_samples=True,
            task_manager=TaskManager(include_defaults=False),
        )  # fmt: skip
        samples = told["samples"]["choose"]
        found.append([float(r[0]) for sample in samples for r in sample["filtered_resps"]])
        assert len(samples) == len(CHOICES)
    assert found[0] == pytest.approx(found[1], abs=1e-3)
