import subprocess
import sys

import pytest

from lacy.config import dump_commented, field_docs, load
from lacy.errors import LacyError
from lacy.objective import Objective
from lacy.train import TrainConfig


def test_all_problems_are_reported_at_once(data):
    config = TrainConfig(
        data=data, steps=5, epochs=1.0, batch_rows=6, grad_accum=4, rate_control="exact", lr=-1.0,
        call_rate=1.5, betas=(0.9, 1.0), model="2m", fork=data, method="rho", keep=0,
    )  # fmt: skip
    with pytest.raises(LacyError) as caught:
        config.check()
    assert caught.value.code == "E45"
    text = str(caught.value)
    words = ("steps and epochs", "does not split into 4", "rate_control exact", "lr is -1.0",
             "betas", "call_rate is 1.5", "'2m'", "model and fork", "method rho",
             "keep is 0")  # fmt: skip
    for word in words:
        assert word in text, word
    assert text.startswith("[E45] 10 training setting(s)")


def test_the_defaults_lack_only_data(data):
    assert TrainConfig().problems() == ["data is not given (lacy data mark makes it)"]
    assert TrainConfig(data=data).problems() == []


def test_a_running_quantile_ranks_no_values(data):
    config = TrainConfig(data=data, rate_control="running", delegate="value")
    assert len(config.problems()) == 1 and "ranks tokens" in config.problems()[0]
    config = TrainConfig(data=data, rate_control="running", rank_within="sequence")
    assert len(config.problems()) == 1 and "rank_within sequence" in config.problems()[0]
    assert "rank_within is 'row'" in TrainConfig(data=data, rank_within="row").problems()[0]
    assert "delegate is 'word'" in TrainConfig(data=data, delegate="word").problems()[0]
    for good in ({"rate_control": "two_pass", "delegate": "value"}, {"rate_control": "running"}):
        TrainConfig(data=data, **good).check()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_shares_are_allowed(data, share):
    TrainConfig(data=data, call_rate=share, text_weight=share, call_warmup=share).check()


def test_every_field_is_documented_and_survives_yaml(data, tmp_path):
    assert field_docs(TrainConfig).keys() == TrainConfig.__dataclass_fields__.keys()
    config = TrainConfig(data=data, trackers=("tensorboard",), decay=0.1)
    (tmp_path / "train.yaml").write_text(dump_commented(config))
    assert load(TrainConfig, tmp_path / "train.yaml") == config


def test_a_plain_model_and_the_warm_up_use_plain_cross_entropy(data):
    config = TrainConfig(data=data, call_negative="sigmoid", ignore="facts")
    assert config.objective().method == "lacy"
    for plain in (
        config.objective(delegate=False),
        TrainConfig(data=data, method="none").objective(),
    ):
        assert (plain.method, plain.call_negative) == ("none", "none")
    assert config.objective(delegate=False).ignore == "none"


def test_the_default_objective_is_that_of_the_settings(data):
    assert TrainConfig(data=data).objective() == Objective()


def test_settings_and_schedule_load_no_torch():
    code = (
        "import sys, lacy.train, lacy.train.schedule, lacy.model; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["data", "valid", "model"])
def test_a_run_never_begins_in_the_folder_it_reads_from(data, tmp_path, name):
    """The next lacy data mark would replace the folder, and the model in it."""
    out = tmp_path / "a" / ".." / "folder"
    (tmp_path / "a").mkdir()
    (tmp_path / "folder").mkdir()
    given = {"data": data, name: str(tmp_path / "folder")}
    (problem,) = TrainConfig(out=out, **given).problems()
    assert problem.startswith("out is the folder of ") and name in problem
    assert TrainConfig(out=tmp_path / "folder" / "run", **given).problems() == []
