"""``lacy federate pretrain`` and its page."""

import pytest

from lacy.cli import main
from lacy.diloco import DilocoSettings, estimate_exchange, pretrain
from lacy.model import load_model
from lacy.report import write_together_page


@pytest.fixture
def words(data, tmp_path):
    return [
        "federate", "pretrain", "--data", str(data), "--out", str(tmp_path / "run"), "--model",
        "tiny", "--steps", "4", "--batch-rows", "4", "--workers", "2", "--sync-every", "2",
        "--codec", "int4", "--threads", "1", "--hold-out", "0.1", "--eval-rows", "4",
    ]  # fmt: skip


def test_the_command_trains_writes_a_page_and_says_what_to_do_next(words, tmp_path, capsys):
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "round 2, step 4, loss" in said and "2 workers" in said and "lacy generate" in said
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Loss against bytes" in page and "times as much" in page
    assert load_model(tmp_path / "run").model.config.vocab_size > 0
    assert main([*words, "--quiet"]) == 0  # finished: nothing is trained again
    assert main([*words, "--codec", "int3"]) == 2
    assert "E357" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(words, tmp_path, capsys):
    assert main([*words, "--dry-run"]) == 0
    assert "exchanges" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "exchange", [{}, {"codec": "topk", "down": "relay"}, {"fragments": 2}, {"down": "bf16"}]
)
def test_an_estimate_is_what_is_sent(together, finish, exchange):
    prepared = together(**{"codec": "int8", **exchange})
    server, _, rows = finish(prepared)
    found = estimate_exchange(prepared)
    assert found.exchanges == len(rows)
    sent = server.bytes_up + server.bytes_down
    assert 0 < sent - found.total < 1000 * len(rows) * 2 * 2  # the numbers beside the deltas


def test_a_page_of_a_run_without_calls(config, tmp_path):
    run = config(steps=2, method="none")
    pretrain(run, DilocoSettings(workers=2, sync_every=1))
    write_together_page(tmp_path / "page.html", run.out)
    assert "call rate, %" not in (tmp_path / "page.html").read_text()
