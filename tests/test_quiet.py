"""Messages of other libraries that lacy drops, and that it drops nothing else."""

import logging
import subprocess
import sys

import pytest

from lacy._quiet import MESSAGES, drop_known_messages


def test_only_the_known_messages_are_dropped(caplog):
    drop_known_messages()
    drop_known_messages()
    for name, part in MESSAGES.items():
        logger = logging.getLogger(name)
        assert len(logger.filters) == 1
        logger.warning("%s x.so: no such GPU", part)
        logger.warning("a message for the user of %s", name)
    assert [record.getMessage() for record in caplog.records] == [
        f"a message for the user of {name}" for name in MESSAGES
    ]


@pytest.mark.slow
def test_models_load_without_a_line_on_standard_error():
    pytest.importorskip("torchao", reason="needs the extra quant")
    code = "import lacy.model, transformers.modeling_utils, sys; assert 'torchao' in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
