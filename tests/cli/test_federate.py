"""``lacy federate run`` and ``align``."""

import json

import pytest

from lacy.safety import AlignSettings


def test_a_federation_is_run_reported_and_used(workspace, tmp_path, capsys):
    lacy, world = workspace.lacy, workspace.world / "train.jsonl"
    out = tmp_path / "out"
    argv = ["--data", world, "--simulate", 3, "--rounds", 2, "--local-steps", 1, "--out", out]
    assert lacy("federate", "run", workspace.model, *argv, "--lora-rank", 2, "--limit", 9) == 0
    shown = capsys.readouterr()
    assert "Round 2 of 2: clients 3, accepted 3" in shown.err and "loss" in shown.err
    assert "Rounds" in shown.out and f"lacy generate {out}" in shown.err
    page = (out / "report.html").read_text()
    assert "trained by 3 clients" in page and "Loss and bytes by round" in page
    assert len(json.loads((out / "federation.json").read_text())["rounds"]) == 2
    assert lacy("generate", out, "Emil", "--max-new-tokens", 4) == 0


def test_a_folder_of_clients_one_of_which_has_no_texts(workspace, tmp_path, capsys):
    texts = tmp_path / "clients"
    texts.mkdir()
    lines = (workspace.world / "train.jsonl").read_text().splitlines()[:4]
    (texts / "berlin.jsonl").write_text("\n".join(lines))
    (texts / "oslo.jsonl").write_text("")
    argv = ["--clients", texts, "--rounds", 1, "--local-steps", 1, "--depth", "row"]
    argv += ["--out", tmp_path / "out"]
    assert workspace.lacy("federate", "run", workspace.model, *argv) == 0
    shown = capsys.readouterr()
    assert "Client oslo has no usable texts" in shown.err and "accepted 1" in shown.err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ([], 2, "E12"),
        (["--clients", "none"], 2, "E13"),
        (["--data", "none.jsonl"], 2, "E13"),
        (["--data", "a.jsonl", "--noise", "1"], 2, "add --clip"),
        (["--data", "a.jsonl", "--strategy", "mode"], 2, "strategy"),
        (["--data", "a.jsonl", "--simulate", "9"], 3, "E331"),
        (["--data", "a.jsonl", "--simulate", "2", "--skew", "topic"], 3, "E332"),
        (["--data", "a.jsonl", "--simulate", "2", "--codec", "zip"], 2, "E357"),
        (["--data", "a.jsonl", "--simulate", "2", "--depth", "half"], 2, "depth"),
    ],
)
def test_mistakes_are_explained(argv, code, words, workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(n), "text": f"Mara Vell was born in {1900 + n}."} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert workspace.lacy("federate", "run", workspace.model, *argv, "--out", "o") == code
    assert words in capsys.readouterr().err


def test_a_model_is_aligned_on_samples_of_clients(workspace, tmp_path, capsys):
    rows = [{"prompt": f"ask {n}", "chosen": "help", "rejected": "bah"} for n in range(5)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    argv = ["--data", tmp_path / "pairs.jsonl", "--simulate", 2, "--rounds", 1, "--lora-rank", 2]
    out = tmp_path / "out"
    assert workspace.lacy("federate", "align", workspace.model, *argv, "--out", out) == 0
    shown = capsys.readouterr()
    assert "Nothing is flagged, because there is no --guard" in shown.err
    assert "seen 5" in shown.err and "Rounds" in shown.out
    assert "flagged" in (out / "report.html").read_text()
    assert workspace.lacy("generate", out, "Emil", "--max-new-tokens", 4) == 0
    for words, code in ((["--data", "x", "--clients", "y"], "E12"), (["--data", "none"], "E13"),
                        ([*argv, "--guard", tmp_path], "E346")):  # fmt: skip
        assert workspace.lacy("federate", "align", workspace.model, *words) in (2, 3)
        assert code in capsys.readouterr().err


def test_align_reads_topics_by_their_field_and_leaves_empty_clients_out(
    workspace, tmp_path, capsys
):
    rows = [{"prompt": f"ask {n}", "reply": "help", "kind": n % 2} for n in range(4)]
    own = tmp_path / "clients"
    own.mkdir()
    (own / "berlin.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (own / "oslo.jsonl").write_text("")
    argv = ["federate", "align", workspace.model, "--rounds", 1, "--lora-rank", 2]
    assert workspace.lacy(*argv, "--clients", own, "--out", tmp_path / "a") == 0
    assert "Client oslo has no samples" in capsys.readouterr().err
    argv += ["--data", own / "berlin.jsonl", "--simulate", 2, "--skew", "topic"]
    assert workspace.lacy(*argv, "--topic-field", "kind", "--out", tmp_path / "b") == 0
    assert "clients 2, accepted 2" in capsys.readouterr().err
    assert workspace.lacy(*argv, "--out", tmp_path / "c") == 3
    assert "has no field 'topic'" in capsys.readouterr().err


def test_align_offers_only_the_settings_that_it_has(workspace, capsys):
    assert workspace.lacy("federate", "align", "--help-all") == 0
    shown = capsys.readouterr().out
    assert "--lora-rank" in shown and "--lr" in shown and "2e-4" in shown
    assert AlignSettings().lr == 2e-4
    for flag in ("--depth", "--local-steps", "--proximal"):
        assert flag not in shown
        assert workspace.lacy("federate", "align", workspace.model, flag, 1) == 2
        assert "E115" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "wrong", "right"),
    [
        ("run", ["--depth", "last=99"], ["--depth", "last=1"]),
        ("align", ["--data", "mixed.jsonl"], ["--data", "pairs.jsonl"]),
        ("pretrain", ["--data", "none"], ["--data", "packed"]),
    ],
)
def test_a_mistake_does_not_become_the_settings_of_the_folder(
    verb, wrong, right, workspace, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    pairs = [{"prompt": f"ask {n}", "chosen": "help", "rejected": "bah"} for n in range(2)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    mixed = [*pairs, {"prompt": "a", "reply": "b"}]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, mixed)))
    (tmp_path / "packed").symlink_to(workspace.world.parent / "packed")
    argv = {
        "run": [workspace.model, "--data", workspace.world / "train.jsonl", "--simulate", 2,
                "--limit", 4, "--rounds", 1, "--local-steps", 1],
        "align": [workspace.model, "--simulate", 1, "--rounds", 1, "--lora-rank", 2],
        "pretrain": ["--model", "tiny", "--steps", 2, "--sync-every", 1, "--workers", 2,
                     "--batch-rows", 2, "--quiet"],
    }[verb]  # fmt: skip
    assert workspace.lacy("federate", verb, *argv, *wrong, "--out", "out") in (2, 3)
    capsys.readouterr()
    assert workspace.lacy("federate", verb, *argv, *right, "--out", "out") == 0
