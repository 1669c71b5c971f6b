"""Run lm-eval's tasks with a model of lacy: ``lacy evaluate MODEL --tasks``."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import evaluator
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import handle_non_serializable

from lacy._text import closest, first_line
from lacy.errors import LacyError
from lacy.harness.lm import LacyLM
from lacy.harness.task_results import TasksMeasured, read_answers
from lacy.harness.with_calls import CallCounts
from lacy.results import Score, ratio


def run_tasks(
    lm: LacyLM,
    tasks: Sequence[str],
    *,
    num_fewshot: int | None = None,
    limit: int | None = None,
    chat: bool = False,
    seed: int = 0,
) -> TasksMeasured:
    """Run tasks of lm-eval.

    Args:
        lm: the model.
        tasks: names of tasks or groups that lm-eval knows, or YAML files of own tasks. Paths of
            data files in them are relative to the working directory or to the YAML file.
        num_fewshot: number of examples before each question; by default the task's own.
        limit: only the first documents of each task.
        chat: ask with the model's chat template.
        seed: seed of the bootstrap. Examples are drawn with lm-eval's own seeds.

    Raises:
        LacyError: E245, there is no such task; E246, the data of a task cannot be read; E247, the
            model has no chat template.
    """
    if chat and not getattr(lm.tokenizer, "chat_template", None):
        raise LacyError("E247", model=lm.name)
    own = [task for task in tasks if task.endswith((".yaml", ".yml"))]
    # The index of lm-eval's own tasks takes seconds to read.
    manager = TaskManager(include_defaults=len(own) < len(tasks))
    specs = [_own_task(task) if task in own else _known_task(task, manager) for task in tasks]
    asked = len(lm.counts)
    with quiet_harness():
        try:
            loaded: Any = manager.load(specs)
        except Exception as error:  # datasets and the Hub raise exceptions of any class
            raise LacyError("E246", tasks=", ".join(tasks), why=first_line(error)) from error
        found: Any = evaluator.simple_evaluate(
            lm, tasks=list(loaded["tasks"].values()) if not loaded["groups"] else specs,
            num_fewshot=num_fewshot, limit=limit, apply_chat_template=chat, task_manager=manager,
            log_samples=True, batch_size=lm.batch_size, device=str(lm.device),
        )  # fmt: skip
    samples = found.pop("samples")
    conditions = {**lm.conditions, "chat_template": "yes" if chat else "no"}
    return TasksMeasured(
        conditions=conditions,
        answers=read_answers({**found, "samples": samples}, seed=seed),
        lm_eval=_plain(found),
        calls=_calls(lm.counts[asked:], seed),
        samples=samples,
        seed=seed,
    )


@contextlib.contextmanager
def quiet_harness() -> Iterator[None]:
    """Show only errors of lm-eval, which otherwise logs a line for every step.

    It also asks git for the commit of the working directory, which git answers with "fatal" outside
    a repository; results of lacy have lacy's own commit.
    """
    logger = logging.getLogger("lm_eval")
    level, commit = logger.level, evaluator.get_git_commit_hash
    logger.setLevel(logging.ERROR)
    evaluator.get_git_commit_hash = lambda: None
    try:
        yield
    finally:
        logger.setLevel(level)
        evaluator.get_git_commit_hash = commit


def _own_task(path: str) -> dict[str, Any]:
    """Read the YAML file of a task, and find its data files beside it.

    Raises:
        LacyError: E13, the file does not exist; E246, the file does not define a task.
    """
    file = Path(path)
    if not file.is_file():
        raise LacyError("E13", path=path, do="give the YAML file of a task, or a task's name")
    try:
        task = load_yaml(file, resolve_func=True)
    except Exception as error:  # a YAML file may name any Python function
        raise LacyError("E246", tasks=path, why=first_line(error)) from error
    if not isinstance(task, dict) or not ({"task", "group"} & set(task)):
        raise LacyError("E246", tasks=path, why="it has no entry `task`")
    options = task.get("dataset_kwargs")
    if isinstance(options, dict) and "data_files" in options:
        options["data_files"] = _beside(options["data_files"], file.parent)
    return dict(task)


def _beside(files: Any, folder: Path) -> Any:
    """Return paths of data files; those that do not exist here are looked for in a folder."""
    if isinstance(files, Mapping):
        return {split: _beside(one, folder) for split, one in files.items()}
    if isinstance(files, list):
        return [_beside(one, folder) for one in files]
    here = Path(str(files))
    return str(folder / here) if not here.exists() and (folder / here).exists() else files


def _known_task(name: str, manager: TaskManager) -> str:
    """Return a task's name.

    Raises:
        LacyError: E245, lm-eval does not know it.
    """
    if name in manager.all_tasks:
        return name
    guess = closest(name, manager.all_tasks)
    raise LacyError("E245", task=name, hint=f"; did you mean {guess}?" if guess else "")


def _calls(counts: Sequence[CallCounts], seed: int) -> dict[str, Score]:
    """Return what was called for the generated answers."""
    if not counts:
        return {}
    ones, tokens = [1.0] * len(counts), [count.tokens for count in counts]
    calls, borrowed = [c.calls for c in counts], [c.borrowed for c in counts]
    unit = "calls per answer"
    return {
        "calls_per_answer": ratio(calls, ones, unit=unit, seed=seed),
        "answered_calls": ratio([c.answered for c in counts], calls, seed=seed),
        "borrowed_tokens": ratio(borrowed, tokens, chance=False, seed=seed),
    }


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's results as plain data for JSON, without its description of the machine."""
    kept = {key: value for key, value in found.items() if key != "pretty_env_info"}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=handle_non_serializable))
    return plain
