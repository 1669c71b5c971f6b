"""The search of a soft prompt: resumed without paying twice, failures without a value."""

import json
import shutil

import pytest

from helpers.black_box import black_box_server
from lacy.blade import (
    BlackBox,
    Cap,
    KnowledgeWriter,
    OptimiseSettings,
    Triple,
    load_blade,
    open_black_box,
    optimise,
)
from lacy.errors import LacyError
from lacy.remote import Retries

SETTINGS = {"evaluations": 7, "start": 3, "batch": 2, "max_tokens": 5}


@pytest.fixture
def server(read_prompt):
    """A black box that is right if the letters of the knowledge add up to an odd number."""

    def reply(text):
        question, knowledge = read_prompt(text)
        return question[8:-1] if sum(map(ord, "".join(knowledge))) % 2 else "no"

    with black_box_server(reply) as running:
        yield running


def opener(server, **settings):
    def opened(path):
        return BlackBox(server.url, "x", answers=path, retries=Retries(0, 0.0), **settings)

    return opened


def lines(path):
    return [json.loads(line)["answer"] for line in path.read_text().splitlines()]


def test_the_best_trial_is_saved_and_opened_again(loaded, questions, server, tmp_path):
    seen = []
    found = optimise(
        loaded, questions, opener(server), tmp_path / "out", OptimiseSettings(**SETTINGS),
        on_trial=seen.append,
    )  # fmt: skip
    assert [one.number for one in seen] == list(range(8)) == [one.number for one in found.trials]
    assert found.best.score == max(one.score for one in found.trials)
    assert found.trials[0].point == ()
    assert found.spent.requests <= len(server.bodies)
    blade = load_blade(tmp_path / "out")
    assert blade.made["dev_right"] == found.best.right
    assert (blade.soft_prompt is None) == (found.best.number == 0)
    names = [one.question for one in questions]
    assert blade.writer().write(names) == found.blade.writer().write(names)


def test_a_search_that_was_stopped_goes_on_and_pays_nothing_twice(
    loaded, questions, server, tmp_path
):
    settings = OptimiseSettings(**SETTINGS)
    whole = optimise(loaded, questions, opener(server), tmp_path / "whole", settings)
    asked = len(server.bodies)

    def stop(trial):
        if trial.number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(loaded, questions, opener(server), tmp_path / "part", settings, on_trial=stop)
    again = optimise(loaded, questions, opener(server), tmp_path / "part", settings)
    assert again.trials == whole.trials
    assert len(server.bodies) == 2 * asked
    once_more = optimise(loaded, questions, opener(server), tmp_path / "part", settings)
    assert once_more.trials == whole.trials
    assert len(server.bodies) == 2 * asked


def test_more_evaluations_continue_and_other_settings_are_refused(
    loaded, questions, server, tmp_path
):
    first = optimise(loaded, questions, opener(server), tmp_path, OptimiseSettings(**SETTINGS))
    more = OptimiseSettings(**{**SETTINGS, "evaluations": 10})
    assert optimise(loaded, questions, opener(server), tmp_path, more).trials[:8] == first.trials
    other = OptimiseSettings(**{**SETTINGS, "seed": 1})
    with pytest.raises(LacyError, match="E17"):
        optimise(loaded, questions, opener(server), tmp_path, other)
    with pytest.raises(LacyError, match="E17"):
        optimise(loaded, questions[:3], opener(server), tmp_path, more)


def test_a_server_that_stops_answering_is_no_zero(loaded, questions, server, tmp_path):
    working, notes = server.reply, []
    settings = OptimiseSettings(**SETTINGS, failures=2)

    def fail(trial):
        if trial.number == 2:
            server.reply = lambda text: (503, "overloaded")

    with pytest.raises(LacyError, match=r"E393.*overloaded.*evaluations are stored"):
        optimise(loaded, questions, opener(server), tmp_path, settings, on_trial=fail,
                 notify=notes.append)  # fmt: skip
    assert len(notes) == 2
    assert 3 <= len(lines(tmp_path / "trials.jsonl")) < 8
    with pytest.raises(LacyError, match=r"E394.*not ended"):
        load_blade(tmp_path)
    server.reply = working
    found = optimise(loaded, questions, opener(server), tmp_path, settings)
    assert len(found.trials) == 8


def test_a_wrong_address_does_not_become_the_settings_of_the_folder(
    loaded, questions, server, tmp_path
):
    wrong = server.url.rsplit(":", 1)[0] + ":9/v1"
    with pytest.raises(LacyError, match="E393"):
        optimise(loaded, questions, lambda path: BlackBox(wrong, "x", answers=path, timeout=1.0),
                 tmp_path, OptimiseSettings(**SETTINGS, failures=1))  # fmt: skip
    assert optimise(loaded, questions, opener(server), tmp_path, OptimiseSettings(**SETTINGS))


def test_a_question_that_the_server_always_refuses_is_left_out(loaded, questions, tmp_path):
    many = [*questions, *(Triple(f"What is {n}?", str(n)) for n in range(6, 12))]

    def reply(text):
        return (400, "content filter") if "What is 7?" in text else "7"

    with black_box_server(reply) as server:
        found = optimise(loaded, many, opener(server), tmp_path, OptimiseSettings(**SETTINGS))
    assert {(one.answered, one.asked) for one in found.trials} == {(11, 12)}


def test_a_cap_stops_and_a_higher_one_goes_on(loaded, questions, server, tmp_path):
    settings = OptimiseSettings(**SETTINGS)
    with pytest.raises(LacyError, match="E392"):
        optimise(loaded, questions, opener(server, cap=Cap(requests=9)), tmp_path, settings)
    assert len(server.bodies) == 9
    found = optimise(loaded, questions, opener(server), tmp_path, settings)
    assert found.spent.requests == len(server.bodies)


def test_a_blade_of_another_model_is_refused(loaded, small, questions, server, tmp_path):
    from helpers.raw import raw_llama, save_raw

    def only(text):
        return "no" if "Knowledge" not in text else server.reply(text)

    optimise(loaded, questions, opener(server), tmp_path / "out", OptimiseSettings(**SETTINGS))
    other = save_raw(tmp_path / "other", raw_llama(context=512, seed=1))
    with pytest.raises(LacyError, match="E395"):
        load_blade(tmp_path / "out", other)
    moved = shutil.copytree(small, tmp_path / "moved")
    assert load_blade(tmp_path / "out", moved).made
    (tmp_path / "out" / "blade.json").write_text("{}")
    with pytest.raises(LacyError, match="E394"):
        load_blade(tmp_path / "out")


def test_no_questions_and_impossible_settings(loaded, server, tmp_path):
    with pytest.raises(LacyError, match="E391"):
        optimise(loaded, [], opener(server), tmp_path)
    for name in ("evaluations", "batch", "dimensions"):
        with pytest.raises(LacyError, match=f"E12.*{name}"):
            OptimiseSettings(**{name: 0}).check()
    with pytest.raises(LacyError, match="E12"):
        OptimiseSettings(search="grid").check()


def test_a_model_without_a_soft_prompt_is_a_blade_too(small):
    assert isinstance(load_blade(small).writer(), KnowledgeWriter)
    with pytest.raises(LacyError):
        load_blade("nowhere")


def test_a_black_box_by_name(server):
    with open_black_box(f"{server.url}#x", style="text") as box:
        assert box.name == f"{server.url}#x"
