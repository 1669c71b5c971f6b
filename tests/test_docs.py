"""The pages of docs/: what they tell to type is typed, each page in a folder of its own.

Blocks of a page run in order and share its folder; its Python blocks share their names. Sizes are
cut (``LESS``) and speed is measured on fewer requests; everything else is as written. A block that
does not run says why in a comment above it: ``<!-- not executed: reason -->``.
"""

import contextlib
import gzip
import io
import json
import re
import shlex
import shutil
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.harness import one_description  # noqa: F401 (fixture)
from helpers.labelled import write_labelled
from helpers.pages import ROOT, lacy
from helpers.raw import raw_llama, save_raw
from helpers.routing import outcome_cases, topic_cases, write_cases
from helpers.toy_decisions import write_decisions
from helpers.toy_safety import write_toys
from lacy.model import preset_names

DOCS = ROOT / "docs"

LONG = {
    "how-to/paper.md": "days of a GPU",
    "how-to/several-processes.md": "several processes; torchrun's commands in test_deploy.py",
    "how-to/wiki.md": "an hour with real articles",
    "results.md": "commands of each table",
    "results/wikipedia.md": "commands of each table",
}
"""Pages whose commands are only parsed (test_readme.py), and why."""

LESS = {
    "data world": {"--people": "12", "--per-person": "2"},
    "data loop": {"--pipeline": "bundled"},
    "data mark": {"--vocab-size": "400", "--context": "512"},
    "train": {
        "--model": "tiny", "--steps": "4", "--batch-rows": "2", "--save-every": "2",
        "--eval-rows": "2", "--threads": "1", "--device": "cpu", "--dtype": "fp32",
    },
    "federate pretrain": {
        "--model": "tiny", "--steps": "4", "--batch-rows": "4", "--eval-rows": "2",
        "--threads": "1", "--device": "cpu", "--dtype": "fp32", "--sync-every": "2",
    },
    "distill": {
        "--tokens": "512", "--batch-rows": "2", "--threads": "1", "--device": "cpu", "--top": "8",
    },
    "decide fit": {"--encoder": "encoder"},
    "blade pretrain": {
        "--epochs": "1", "--context": "64", "--threads": "1", "--device": "cpu",
    },
    "blade tune": {"--epochs": "0.1", "--lora-rank": "2", "--prompt-tokens": "60"},
    "route fit": {"--encoder": "encoder"},
    "safety train": {"--encoder": "encoder", "--layers": "1", "--epochs": "1"},
    "federate run": {
        "--rounds": "1", "--local-steps": "1", "--lora-rank": "2", "--context": "64",
        "--batch-rows": "2", "--limit": "12",
    },
    "generate": {"--max-new-tokens": "6", "--calibrate": "4"},
    "chat": {"--max-new-tokens": "6", "--calibrate": "4"},
    "why": {"--max-new-tokens": "6", "--calibrate": "4"},
    "tune": {"--pipeline": "bundled", "--tokens": "480", "--device": "cpu"},
    "federate simulate": {"--runs": "1"},
    "study": {"--jobs": "1"},
    "evaluate": {"--people": "2", "--max-new-tokens": "6", "--calibrate": "2"},
}  # fmt: skip
"""Flags that are set, or given other values, so that a page takes a second or two."""

TIMED = {"repeat": 2, "batches": 1, "batch_size": 2, "prompt_tokens": 16, "new_tokens": 6}
"""The requests that a scorecard times."""

GIVEN = {
    "annotation.md": ["wiki.jsonl.gz"],
    "how-to/blade.md": ["models/base"],
    "how-to/compress.md": ["world", "runs/mine"],
    "how-to/chain.md": ["runs/mine", "runs/partner"],
    "how-to/data-loop.md": ["world", "models/base", "articles.jsonl.gz"],
    "how-to/database.md": ["runs/mine"],
    "how-to/decide.md": ["runs/mine", "decisions.jsonl", "encoder"],
    "how-to/documents.md": ["runs/mine", "articles.jsonl.gz", "notes"],
    "how-to/endpoint.md": ["runs/mine", "runs/partner"],
    "how-to/engine.md": ["runs/mine"],
    "how-to/distill.md": ["articles.jsonl.gz", "runs/mine", "runs/partner"],
    "how-to/exact.md": ["models/base"],
    "how-to/export.md": ["world", "runs/mine"],
    "how-to/federate.md": ["world", "runs/mine"],
    "how-to/fine-tune.md": [
        "articles.jsonl.gz",
        "held-out.jsonl.gz",
        "models/base",
        "notes.index",
    ],
    "how-to/efficiency.md": ["models/base", "held-out.jsonl.gz"],
    "how-to/lm-eval.md": ["models/base"],
    "how-to/judge.md": ["labels.json"],
    "how-to/own-model.md": [
        "runs/mine",
        "models/base",
        "notes.index",
        "articles.jsonl.gz",
        "held-out.jsonl.gz",
    ],
    "how-to/llama-cpp.md": ["world", "runs/mine"],
    "how-to/quantize.md": ["runs/mine", "articles.jsonl.gz"],
    "how-to/own-source.md": ["world", "runs/mine", "runs/partner"],
    "how-to/own-texts.md": ["articles.jsonl.gz", "held-out.jsonl.gz", "letters.txt"],
    "how-to/own-trainer.md": ["packed"],
    "how-to/prune.md": ["models/base", "articles.jsonl.gz"],
    "how-to/reading-results.md": ["world", "runs/mine", "held-out.jsonl.gz"],
    "how-to/resume.md": ["packed"],
    "how-to/route.md": ["requests.jsonl", "more.jsonl", "outcomes.jsonl", "encoder"],
    "how-to/safety.md": [
        "labelled.jsonl",
        "other.jsonl",
        "pairs.jsonl",
        "encoder",
        "runs/mine",
    ],
    "how-to/scorecard.md": ["runs/mine", "held-out.jsonl.gz"],
    "how-to/saturation.md": ["runs/mine", "packed", "held-out.jsonl.gz"],
    "how-to/serve.md": ["world", "runs/mine"],
    "how-to/settings.md": ["packed"],
    "how-to/terminal.md": ["world", "runs/mine"],
    "how-to/vocabulary.md": ["models/base", "articles.jsonl.gz", "held-out.jsonl.gz"],
    "how-to/verify.md": ["labels_Parrot.jsonl.gz", "passages.jsonl"],
    "how-to/tune.md": ["articles.jsonl.gz", "models/base", "notes.index"],
}
"""What a page takes for granted."""

REAL = ("how-to/questions.md",)
"""Pages that need SmolLM2; they are skipped where it is not installed."""


class Block(NamedTuple):
    """A block of a page; ``why`` is the reason that it is not executed."""

    language: str
    code: str
    why: str | None


FENCE = re.compile(
    r"(?:<!-- not executed: (?P<why>[^>]+) -->\s*\n)?"
    r"^ *```(?P<language>bash|python)\n(?P<code>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    found = FENCE.finditer(text)
    return [Block(m["language"], textwrap.dedent(m["code"]), m["why"]) for m in found]


def pages():
    every = sorted(DOCS.rglob("*.md"))
    names = [page.relative_to(DOCS).as_posix() for page in every]
    return [n for n, page in zip(names, every, strict=True) if blocks_of(page) and n not in LONG]


def smaller(words):
    """A command with the sizes of ``LESS``; one length of training instead of another."""
    words = list(words)
    for flag, value in LESS.get(words[0], LESS.get(" ".join(words[:2]), {})).items():
        if flag in words:
            place = words.index(flag) + 1
            if flag != "--model" or words[place] in preset_names():
                words[place] = value
        elif not (flag == "--model" and "--fork" in words):
            words += [flag, value]
    return words


def type_in(line):
    """Run a line of a shell block in this process: ``lacy``, with ``> FILE`` and ``< FILE``."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    assert words[0] == "lacy", f"a block with {words[0]!r} needs a reason not to be executed"
    words, target, given = words[1:], None, None
    if "<" in words:
        given = Path(words[words.index("<") + 1]).read_text(encoding="utf-8")
        words = words[: words.index("<")]
    if ">" in words:
        target = words[words.index(">") + 1]
        words = words[: words.index(">")]
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        if given is not None:
            patch.setattr("sys.stdin", io.StringIO(given))
        if target:
            stream = stack.enter_context(open(target, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(stream))
        assert lacy(*smaller(words)) == 0, line


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """What pages take for granted: a world, packed data, two models, articles, judge's labels."""
    folder = tmp_path_factory.mktemp("material")
    with contextlib.chdir(folder):
        type_in("lacy data world --out world")
        type_in("lacy data mark world --annotator gold --out packed")
        type_in("lacy train --data packed --out runs/mine --text-weight 0.3 --quiet")
        shutil.copytree("runs/mine", "runs/partner")
        rows = [json.loads(line) for line in Path("world/train.jsonl").read_text().splitlines()]
        for name in ("articles.jsonl.gz", "held-out.jsonl.gz", "wiki.jsonl.gz"):
            with gzip.open(name, "wt", encoding="utf-8") as file:
                for row in rows[:8]:
                    line = {"id": row["id"], "title": row["person"], "text": row["text"]}
                    file.write(json.dumps(line) + "\n")
        examples = [{"annotated_text": judged(row)} for row in rows[:8]]
        Path("labels.json").write_text(json.dumps({"examples": examples}), encoding="utf-8")
        Path("letters.txt").write_bytes("Мария Велл родилась 12 мая 1815.".encode("cp1251"))
        Path("notes").mkdir()
        Path("notes/a.md").write_text("# The telescope\n\nIt was built in Kiel in 1930.\n")
        type_in("lacy source build notes --out notes.index")
        write_labelled(Path())
        write_toys(Path())
        write_decisions(Path())
        write_cases(Path("requests.jsonl"), topic_cases(90))
        write_cases(Path("more.jsonl"), topic_cases(30, seed=1))
        write_cases(Path("outcomes.jsonl"), outcome_cases(90))
        save_raw("models/base", raw_llama(context=512))
    return folder


def judged(row):
    """A text with a look-up before each of its facts."""
    text, end, parts = row["text"], 0, []
    for start, stop, _, relation in row["marks"]:
        look_up = f"[dblookup('{row['person']}', '{relation}') -> {text[start:stop]}] "
        parts += [text[end:start], look_up]
        end = start
    return "".join([*parts, text[end:]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")  # peft with transformers 5
@pytest.mark.parametrize("name", pages())
def test_what_a_page_tells_to_type_works(name, material, tmp_path, monkeypatch, request, capsys):
    if name in REAL:
        request.getfixturevalue("smollm2")
    else:
        monkeypatch.setenv("LACY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lacy.scorecard.costs.LOAD", TIMED)
    monkeypatch.setattr("lacy.evaluate.openings.CALIBRATION_ARTICLES", 4)
    monkeypatch.chdir(tmp_path)
    for given in GIVEN.get(name, ()):
        source, target = material / given, tmp_path / given
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    names = {"__name__": "page"}
    for block in blocks_of(DOCS / name):
        if block.why is not None:
            continue
        if block.language == "python":
            exec(compile(block.code, name, "exec"), names)
        else:
            for line in block.code.splitlines():
                type_in(line)


def test_most_blocks_run_and_the_others_say_why():
    every = [block for name in pages() for block in blocks_of(DOCS / name)]
    left_out = [block for block in every if block.why is not None]
    assert len(left_out) < len(every) / 3
    assert all(len(block.why.split()) >= 2 for block in left_out)


def test_pages_are_there():
    for name in [*LONG, *GIVEN, *REAL]:
        assert (DOCS / name).is_file(), name
